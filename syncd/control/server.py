"""Opens and closes the control port, and lists its routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any

import msgspec
import yaml
from aiohttp import web

from syncd.control import history
from syncd.control.call import Answer, Call
from syncd.control.feed import ControlLimits, Feed, wants_feed
from syncd.control.health import Health
from syncd.control.metrics import LoopLag, Metrics
from syncd.control.picture import Ledger
from syncd.control.progress import Progress
from syncd.control.requests import Requests
from syncd.control.service import Service
from syncd.control.steering import Steering
from syncd.http.access import Need
from syncd.http.connections import listening
from syncd.http.problem import answer_bytes
from syncd.http.router import Route, Router


def load_description() -> dict[str, Any]:
    """The hand-written OpenAPI document."""
    text = resources.files("syncd.control").joinpath("openapi.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506  # one of the two safe loaders
    return document


class Control:
    """The open control port."""

    def __init__(self, service: Service, limits: ControlLimits) -> None:
        self.limits = limits
        self.ledger = Ledger(service.postgres)
        self.lag = LoopLag()
        self._progress = Progress(service, self.ledger)
        self.feed = Feed(self._progress, limits)
        self._health = Health(service, self.ledger)
        self._requests = Requests(self._progress)
        self._steering = Steering(self._progress)
        self.routes = self._routes(service)
        begin = partial(Call, service=service)
        hint = "GET /openapi.json lists them"
        self.router = Router(self.routes, service.access, begin, limits, hint=hint)
        self.port = 0

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self.router.server.open_connections

    def _routes(self, service: Service) -> list[Route[Call]]:
        health, steering = self._health, self._steering
        return [
            Route("POST", "/sync", Need.CHANGE, self._requests.sync),
            Route("GET", "/sync/progress", Need.READ, self.feed.answer, endless=wants_feed),
            Route("GET", "/syncs", Need.READ, history.several),
            Route("GET", "/syncs/active", Need.READ, history.active),
            Route("GET", "/syncs/{id}", Need.READ, history.one),
            Route("POST", "/syncs/{id}/cancel", Need.CHANGE, steering.cancel),
            Route("POST", "/syncs/{id}/approve", Need.CHANGE, steering.approve),
            Route("POST", "/pause", Need.CHANGE, steering.pause),
            Route("POST", "/resume", Need.CHANGE, steering.resume),
            Route("POST", "/stop", Need.CHANGE, steering.stop),
            Route("GET", "/sync-status", Need.READ, health.sync_status),
            Route("GET", "/health", Need.READ, health.health),
            Route("GET", "/livez", Need.NOTHING, health.livez),
            Route("GET", "/readyz", Need.NOTHING, health.readyz),
            Route("GET", "/metrics", Need.NOTHING, self._metrics(service).scrape),
            Route("GET", "/openapi.json", Need.READ, _description()),
        ]

    def _metrics(self, service: Service) -> Metrics:
        def pool(name: str) -> Callable[[], float]:
            return lambda: float(service.postgres.pool_stats().get(name, 0))

        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "syncd_control_connections": ("Open connections of the control port.", lambda: self.open_connections),
            "syncd_control_feeds": ("Open live feeds.", lambda: self.feed.open_feeds),
            "syncd_asyncio_tasks": ("Tasks of the event loop.", lambda: len(asyncio.all_tasks())),
            "syncd_pool_connections": ("Connections of the database pool.", pool("pool_size")),
            "syncd_pool_connections_idle": ("Of these, waiting for work.", pool("pool_available")),
            "syncd_pool_requests_waiting": ("Statements that wait for a connection.", pool("requests_waiting")),
        }
        return Metrics(self.lag, gauges, lambda: self.router.server.ended_for_others)


def _description() -> Answer:
    body = msgspec.json.encode(load_description())

    async def answer(_: Call) -> web.StreamResponse:
        return answer_bytes(body)

    return answer


@asynccontextmanager
async def serve_control(
    service: Service, address: str, port: int, *, limits: ControlLimits | None = None
) -> AsyncIterator[Control]:
    """Answer on this address until the end of the block; port 0 takes a free one (`control.port`).

    Raises FatalError where the address cannot be listened on. At the end live feeds close, requests under way
    get a moment to be answered, and everything else is cut.
    """
    control = Control(service, limits or ControlLimits())
    await control.ledger.identify()
    try:
        async with listening(control.router.server, "control port", address, port, control.limits) as control.port:
            sampling = asyncio.create_task(control.lag.sample())
            try:
                yield control
            finally:
                sampling.cancel()
                control.feed.close()
    finally:
        await control.ledger.close()
