"""A program of ours (the second argument: its package) with journald's socket at the first argument's path.

The real socket belongs to the machine. Everything else is the program as it is; standard error counts as the
journal by $JOURNAL_STREAM, as under systemd.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from syncd.runtime import log

log.configure_log.__kwdefaults__["journal_path"] = Path(sys.argv.pop(1))
importlib.import_module(f"{sys.argv.pop(1)}.cli").main()
