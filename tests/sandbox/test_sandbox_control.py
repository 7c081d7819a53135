"""The control endpoint for other processes, and the command in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from syncd.sandbox.command import sandbox as command
from syncd.sandbox.fault import KINDS


async def control(caller, path, method="GET", **sent):
    return await caller.call(f"{caller.sandbox.control_url}/{path}", method=method, login=None, **sent)


async def test_without_the_switch_there_is_no_control(start):
    caller = await start()
    assert (await control(caller, "offers")).status == 404


async def test_another_process_can_mutate_and_read_the_exact_documents(start):
    caller = await start(control=True, per_second=1)
    first, second, third, *_ = before = list(caller.sandbox.catalogue)
    wanted = {"change": [first], "fields": ["price"], "vanish": [second], "appear": 2, "move": [third, 0]}
    done = (await control(caller, "mutate", "POST", json=wanted)).json()
    assert done["changed"] == [first]
    assert done["vanished"] == [second]
    assert done["offers"] == 251
    assert list(caller.sandbox.catalogue) == [third, first, *before[3:], *done["appeared"]]
    documents = (await control(caller, "offers")).body
    assert documents == b"[" + b",".join(caller.sandbox.catalogue.values()) + b"]"
    assert (await control(caller, f"offers/{first}")).body == caller.sandbox.catalogue[first]
    assert (await control(caller, f"offers/{second}")).status == 404
    everything = (await control(caller, "mutate", "POST", json={"vanish": "all", "shuffle": True})).json()
    assert everything["offers"] == 0
    assert (await control(caller, "offers")).body == b"[]"


@pytest.mark.parametrize(
    "nonsense",
    [{"paint": 1}, {"change": ["x"], "fields": ["colour"]}, {"move": [1, 2]}, {"move": 1}, {"appear": [5]}, [1]],
)
async def test_nonsense_is_a_400_that_says_why(start, nonsense):
    caller = await start(control=True)
    answer = await control(caller, "mutate", "POST", json=nonsense)
    assert answer.status == 400
    assert answer.json()["message"]
    assert (await control(caller, "mutate", "POST", data=b"{")).status == 400


async def test_another_process_can_set_and_clear_faults(start):
    caller = await start(control=True, faults=["502"])
    listed = (await control(caller, "faults", "POST", json={"faults": ["500:page=1:times=2"]})).json()
    assert listed == {"faults": [{"fault": "500:page=1:times=2", "seen": 0, "applied": 0}]}
    assert (await caller.read()).status == 500
    assert (await control(caller, "faults")).json()["faults"][0]["applied"] == 1
    bad = await control(caller, "faults", "POST", json={"faults": ["504", "teapot"]})
    assert bad.status == 400
    assert len(caller.sandbox.faults) == 1, "all or none"
    await control(caller, "faults", "DELETE")
    assert (await caller.read()).status == 200


async def test_another_process_can_read_and_forget_the_log(start):
    caller = await start(control=True)
    await caller.read(2)
    [call] = (await control(caller, "log")).json()["calls"]
    assert (call["route"], call["page"], call["status"], call["rows"]) == ("product_offer/read", 2, 200, 100)
    assert call["at"].endswith("+00:00")
    await control(caller, "log", "DELETE")
    assert len(caller.sandbox.log) == 0


Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Started]:
    """Start `syncd sandbox` with these arguments; killed after the test if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        program = "from syncd.sandbox.command import sandbox; sandbox()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_prints_where_it_is_serves_and_ends_with_0(start, run, signal_number):
    process = run("--json", "--offers", "12", "--fault", "hang:page=2", "--no-rate-limit", "--password", "se cret")
    told = json.loads(process.stdout.readline())
    assert told["base_url"] == f"http://127.0.0.1:{told['port']}/api-3"
    caller = await start()
    answer = await caller.call(f"{told['base_url']}/product_offer/read", login=f"{told['username']}:se cret")
    assert len(answer.results) == 12
    assert "X-RateLimit-Limit-3second" not in answer.headers
    with pytest.raises(TimeoutError):
        await caller.call(
            f"{told['base_url']}/product_offer/read", json={"currentPage": 2}, login="sandbox:se cret", seconds=0.1
        )
    process.send_signal(signal_number)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_command_prints_lines_to_paste_into_a_shell(run):
    process = run("--password", "it's", "--offers", "0")
    lines = [process.stdout.readline() for _ in range(3)]
    script = "".join(lines) + 'echo "$EMAG_API_BASE_URL|$EMAG_API_USERNAME|$EMAG_API_PASSWORD"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    url, username, password = shell.stdout.strip().split("|")
    assert url.startswith("http://127.0.0.1:")
    assert (username, password) == ("sandbox", "it's")


async def test_a_taken_port_is_told_in_a_sentence(start, run):
    caller = await start()
    out, err = run("--port", str(caller.sandbox.port)).communicate(timeout=5)
    assert out == ""
    assert "cannot listen on 127.0.0.1" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--fault", "teapot"], "no fault 'teapot'"),
        (["--drift", "x"], "neither a page number nor 'every'"),
        (["--retry-after", "soon"], "neither a number of seconds nor 'none'"),
        (["--wrap", "no"], "'no' is not one of"),
    ],
)
def test_a_wrong_switch_is_a_usage_error(arguments, reason):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert reason in result.output


def test_the_help_names_every_fault_and_switch():
    text = CliRunner().invoke(command, ["--help"]).output
    assert all(f"  {kind} " in text for kind in KINDS)
    assert "--mutate-every" in text
