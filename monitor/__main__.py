"""The console script `sync-monitor`, and `python -m monitor`."""

import signal
import sys


def main() -> None:
    """Hand over to the commands."""
    if "serve" in sys.argv[1:]:
        # A reload that is asked for before the monitor listens to it would end it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from monitor.cli import main as commands

    commands()


if __name__ == "__main__":
    main()
