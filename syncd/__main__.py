"""The console script `syncd`, and `python -m syncd`."""

import signal
import sys


def main() -> None:
    """Hand over to the commands."""
    if "serve" in sys.argv[1:]:
        # A reload that is asked for before the daemon listens to it would end it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from syncd.cli import main as commands

    commands()


if __name__ == "__main__":
    main()
