"""What answers look like: errors as problem documents (RFC 9457), successes as JSON or as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from syncd.runtime.log import redact

PROBLEM_TYPE = "application/problem+json"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RETRY_SECONDS = 5

COMMON_HEADERS = {
    "Server": "syncd",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer: nothing about versions, nothing kept, nothing guessed."""


class Problem(Exception):
    """Why a request is not served. Further members (run_id, errors, …) stand beside the fixed ones."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, close: bool = False, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.close = close
        self.members = members

    def body(self, instance: str | None = None) -> bytes:
        """The document. instance: the path that was asked for, decoded. A caller who sends a secret where none
        belongs does not get it back: answers are logged by those who ask."""
        members = dict(self.members)
        if "errors" in members:
            members["errors"] = [{name: redact(text) for name, text in error.items()} for error in members["errors"]]
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": redact(self.detail),
            **({"instance": quote(redact(instance))} if instance else {}),
            **members,
        }
        return msgspec.json.encode(document)

    def response(self, instance: str | None = None) -> web.Response:
        """The answer; the connection ends with it where the request was not read to its end."""
        headers = {**COMMON_HEADERS, **self.headers}
        answer = web.Response(status=self.status, body=self.body(instance), headers=headers, content_type=PROBLEM_TYPE)
        if self.close:
            answer.force_close()
        return answer


def unavailable(detail: str) -> Problem:
    """503: the same request may succeed soon."""
    return Problem(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def fault() -> Problem:
    """500: nothing of our inside is told."""
    return Problem(500, "a fault in syncd; its log has more")


def invalid(errors: list[dict[str, str]]) -> Problem:
    """422: each error names the field (`pointer`) or the parameter, and what was expected."""
    names = ", ".join(error.get("pointer", error.get("parameter", "")).removeprefix("#/") for error in errors)
    return Problem(422, f"not as expected: {names}", errors=errors)


def answer_json(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A success. Times are written as RFC 3339 in UTC, ids as text."""
    return answer_bytes(msgspec.json.encode(document), status=status, headers=headers)


def answer_bytes(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A success whose JSON is already written."""
    return web.Response(
        status=status, body=body, headers={**COMMON_HEADERS, **(headers or {})}, content_type="application/json"
    )


def answer_metrics(body: bytes) -> web.Response:
    """A scrape, in Prometheus's text format."""
    return web.Response(body=body, headers={**COMMON_HEADERS, "Content-Type": METRICS_TYPE})
