"""The mutants, and the tests that must catch them."""

from __future__ import annotations

from tests.mutants.commands import COMMANDS
from tests.mutants.daemon import DAEMON, REQUIRED_OF_DAEMON
from tests.mutants.deploy import DEPLOY
from tests.mutants.exporter import EXPORTER
from tests.mutants.ledger import LEDGER, REQUIRED_OF_LEDGER
from tests.mutants.monitor import MONITOR
from tests.mutants.page import PAGE
from tests.mutants.rescue import RESCUE
from tests.mutants.schedule import SCHEDULE
from tests.mutants.service import SERVICE

REQUIRED = REQUIRED_OF_LEDGER + REQUIRED_OF_DAEMON
"""Tried in every gate."""

FURTHER = (*LEDGER, *DAEMON, *COMMANDS, *MONITOR, *SCHEDULE, *PAGE, *SERVICE, *RESCUE, *EXPORTER, *DEPLOY)
"""Tried by the long counts."""
