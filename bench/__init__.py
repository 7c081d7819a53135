"""The benchmark: ours beside dlt, a Singer tap and target, and bare COPY, in one run. `python -m bench --help`."""
