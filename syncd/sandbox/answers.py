"""Whole answers: the vendor's envelope, Kong's own bodies, and those that replace a good answer.

Sources: envelope, 403 and 429 from the vendor document v4.4.9; 404 and the blocked IP under HTTP 200 as seen
by integrators; 401 as the Basic Auth plugin of the same gateway answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from syncd.sandbox.fault import Fault
from syncd.sandbox.poison import HOSTILE_TEXT

JSON_TYPE = "application/json; charset=utf-8"
OPENING = b'{"isError":false,"messages":[],"errors":[],"results":'
_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
    "<body><center><h1>{title}</h1></center><hr><center>openresty</center></body></html>\n"
)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def reply(body: bytes, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=body, status=status, headers={"Content-Type": JSON_TYPE})


def envelope(results: bytes) -> bytes:
    """The success envelope around JSON text."""
    return OPENING + results + b"}"


def page_body(rows: Sequence[bytes]) -> bytes:
    """The success envelope around a list of documents."""
    return envelope(b"[" + b",".join(rows) + b"]")


def count_body(items: int, per_page: int) -> bytes:
    """Numbers as strings, as the API sends them."""
    counts = {"noOfItems": items, "noOfPages": -(-items // per_page), "itemsPerPage": per_page}
    return envelope(_compact({name: str(number) for name, number in counts.items()}))


def refusal(message: str, status: int = 200) -> web.Response:
    """The envelope with isError true."""
    return reply(_compact({"isError": True, "messages": [message], "errors": [], "results": []}), status)


def _kong(status: int, message: str) -> web.Response:
    return reply(_compact({"message": message}), status)


def unauthorized() -> web.Response:
    """No Authorization header, or none that can be read."""
    answer = _kong(401, "Unauthorized")
    answer.headers["WWW-Authenticate"] = 'Basic realm="marketplace"'
    return answer


def forbidden() -> web.Response:
    """Wrong user, wrong password, or no API right."""
    return refusal("You are not allowed to use this API.", 403)


def no_route() -> web.Response:
    """No such route, or not with this method."""
    return _kong(404, "no Route matched with those values")


def rate_limited(retry_after: str | None) -> web.Response:
    """Kong's 429: no isError key; the vendor's sample shows no Retry-After."""
    return _with_retry_after(_kong(429, "API rate limit exceeded"), retry_after)


def _with_retry_after(answer: web.Response, retry_after: str | None) -> web.Response:
    if retry_after is not None:
        answer.headers["Retry-After"] = retry_after
    return answer


def _html(status: int, title: str) -> web.Response:
    return web.Response(text=_PAGE.format(title=title), status=status, content_type="text/html")


def _hostile_error(_: Fault, __: web.Request, ___: bytes) -> web.Response:
    message = HOSTILE_TEXT.encode()
    return reply(b'{"isError":true,"messages":["%s"],"errors":[{"message":"%s"}],"results":[]}' % (message, message))


def _redirect(fault: Fault, request: web.Request, _: bytes) -> web.Response:
    # localhost is another origin than 127.0.0.1, yet ours: the log shows who follows, and with what
    port = request.url.port
    return web.Response(status=302, headers={"Location": fault.location or f"http://localhost:{port}/elsewhere"})


_Replacement = Callable[[Fault, web.Request, bytes], web.Response]

REPLACEMENTS: dict[str, _Replacement] = {
    "is_error": lambda *_: refusal("An error has occurred. Please try again later."),
    "hostile_error": _hostile_error,
    "missing_is_error": lambda _, __, body: reply(body.replace(b'"isError":false,', b"", 1)),
    "blocked_ip": lambda *_: refusal("ERROR: Invalid vendor ip [1.2.3.4]"),
    "html": lambda *_: _html(200, "Site under maintenance"),
    "401": lambda *_: unauthorized(),
    "403": lambda *_: forbidden(),
    "429": lambda fault, *_: rate_limited(fault.retry_after),
    "500": lambda *_: _html(500, "500 Internal Server Error"),
    "502": lambda *_: _html(502, "502 Bad Gateway"),
    "503": lambda fault, *_: _with_retry_after(_html(503, "503 Service Unavailable"), fault.retry_after),
    "504": lambda *_: _html(504, "504 Gateway Time-out"),
    "redirect": _redirect,
}
"""Fault kind → the answer that takes the place of the good body given to it."""
