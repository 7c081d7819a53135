"""`python -m bench`: measure all sides, print the table, write the results.

Exit codes: 0 every side ended with the right rows · 1 one did not (it is named, without a rate), or, with
--check, a promise was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench import peers_environment
from bench.memory import Scaling, measure_scaling
from bench.report import Report, Setting
from bench.rounds import SLOW, Rounds
from bench.sides import SIDES
from bench.surroundings import SHOWN_SETTINGS, ApiServer, Database, temporary_postgres
from syncd.runtime.embedded import EmbeddedPostgres

QUICK_OFFERS = 2_000
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Measure as the command line asks."""
    arguments = _arguments()
    sides = [side for side in SIDES if arguments.peers or side not in SLOW]
    if arguments.peers:
        peers_environment.install()
    load_before = os.getloadavg()[0]
    scaling: Scaling | str | None = None
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as name, temporary_postgres() as postgres:
        folder = Path(name)
        with ApiServer(arguments.offers) as api:
            average_bytes = api.serve(0)["average_bytes"]
            rounds = Rounds(postgres, api, folder)
            rounds.run_all(sides, rounds=arguments.rounds, slow_rounds=arguments.peer_rounds)
        if arguments.memory:
            scaling = measure_scaling(postgres, folder, (10_000, 200_000))
        setting = Setting(
            offers=arguments.offers,
            average_bytes=average_bytes,
            postgres=_settings_of(postgres),
            versions=peers_environment.versions() if arguments.peers else {},
            notes={side.name: side.note for side in sides},
            load_before=load_before,
            load_after=os.getloadavg()[0],
        )
    report = Report(setting, rounds.findings, scaling)
    print(report.text())
    arguments.output.write_text(json.dumps(report.facts(), indent=1, ensure_ascii=False) + "\n")
    return 1 if _is_bad(report, rounds, scaling, check=arguments.check) else 0


def _is_bad(report: Report, rounds: Rounds, scaling: Scaling | str | None, *, check: bool) -> bool:
    missed = check and not all(target.holds for target in report.targets())
    return bool(rounds.findings.faults) or isinstance(scaling, str) or missed


def _settings_of(postgres: EmbeddedPostgres) -> dict[str, str]:
    database = Database(postgres, "postgres")
    shown = {name: database.ask(f"SHOW {name}")[0] for name in SHOWN_SETTINGS}
    return {"version": postgres.version, **shown}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"a smoke: {QUICK_OFFERS:,} offers, one round, no memory")
    parser.add_argument("--offers", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5, help="of ours and of bare COPY")
    parser.add_argument("--peer-rounds", type=int, default=2, help="of the slow ones")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="only ours and bare COPY")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="without 10,000 and 200,000 offers")
    parser.add_argument("--check", action="store_true", help="exit 1 where a promise is missed")
    parser.add_argument("--output", type=Path, help=f"default {RESULTS.name}, with --quick results-quick.json")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.offers, arguments.rounds, arguments.peer_rounds = QUICK_OFFERS, 1, 1
        arguments.memory = False
    if arguments.output is None:
        arguments.output = RESULTS.with_name("results-quick.json") if arguments.quick else RESULTS
    return arguments


if __name__ == "__main__":
    sys.exit(main())
