"""`python -m monitor` is the same as `sync-monitor`."""

from monitor.cli import main

main()
