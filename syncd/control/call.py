"""A call of the control API: the request, the daemon that it is for, the run that its path names, who asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web

from syncd.contract.text import escape
from syncd.control.service import Service
from syncd.http import router
from syncd.http.problem import Problem

INITIATOR_HEADER = "Syncd-Initiator"
_INITIATOR = re.compile(r"cli:[!-?A-~]{1,64}@[A-Za-z0-9._-]{1,253}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True, kw_only=True)
class Call(router.Call):
    """One request of the control API."""

    service: Service

    @property
    def run_id(self) -> UUID:
        """The run that the path names. Raises 404 where it cannot be one."""
        if not _UUID.fullmatch(self.path_id):
            raise no_such_run(self.path_id)
        return UUID(self.path_id)

    @property
    def initiator(self) -> str:
        """Who asks, for the ledger: our own commands say for whom they call, all others are `api`."""
        given = self.request.headers.get(INITIATOR_HEADER, "")
        return given if _INITIATOR.fullmatch(given) else "api"


Answer = Callable[[Call], Coroutine[Any, Any, web.StreamResponse]]


def no_such_run(text: object) -> Problem:
    """404 for a run."""
    return Problem(404, f"no run {escape(str(text))[:60]}: GET /syncs lists them")
