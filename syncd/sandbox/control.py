"""The control endpoint, for other processes: change the catalogue, set faults, read the log and the truth.

Only with `control=True` / `--control`; without credentials and without a rate limit, since it is on loopback
and not part of the simulated API.

    POST   /_sandbox/mutate   {"change"?, "fields"?, "vanish"?, "appear"?, "move"?: [id, position], "shuffle"?}
                              → {"changed": [ids], "vanished": [ids], "appeared": [ids], "offers": N}
    GET    /_sandbox/faults   → {"faults": [{"fault", "seen", "applied"}]}
    POST   /_sandbox/faults   {"faults": ["500:page=3:times=2", …]} replaces those in force
    DELETE /_sandbox/faults   clears them
    GET    /_sandbox/log      → {"calls": [{method, route, page, status, fault, at_seconds, …}]}
    DELETE /_sandbox/log      forgets them
    GET    /_sandbox/offers   → a JSON array of the documents exactly as list reads serve them, in page order
    GET    /_sandbox/offers/7 → one document exactly; 404 if it is gone

`change` and `vanish` take a list of ids, a whole number of offers, a fraction such as 0.05, or "all";
`appear` a number, or a list of ids that vanished before. They happen in the order in which they stand here:
change, vanish, appear, move, shuffle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from syncd.sandbox.calls import Call
from syncd.sandbox.catalogue import Catalogue
from syncd.sandbox.fault import Fault, Faults

_MUTATIONS = ("change", "fields", "vanish", "appear", "move", "shuffle")
_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def mutate(catalogue: Catalogue, wanted: dict[str, Any]) -> dict[str, Any]:
    """Do what a mutate request says; ValueError, TypeError or LookupError if it says nonsense."""
    if unknown := set(wanted) - set(_MUTATIONS):
        raise ValueError(f"cannot {sorted(unknown)}: expected some of {', '.join(_MUTATIONS)}")
    done: dict[str, Any] = {"changed": [], "vanished": [], "appeared": []}
    if "change" in wanted:
        done["changed"] = catalogue.change(_which(wanted["change"]), wanted.get("fields", ("price", "stock")))
    if "vanish" in wanted:
        done["vanished"] = catalogue.vanish(_which(wanted["vanish"]))
    if "appear" in wanted:
        done["appeared"] = catalogue.appear(wanted["appear"])
    if "move" in wanted:
        offer_id, position = wanted["move"]
        catalogue.move(offer_id, position)
    if wanted.get("shuffle"):
        catalogue.shuffle()
    return {**done, "offers": len(catalogue)}


def _which(value: Any) -> Any:
    return None if value == "all" else value


def _reading(change: Callable[[dict[str, Any]], dict[str, Any]]) -> _Answer:
    """An endpoint that reads a JSON object and answers what `change` makes of it, or 400 with the reason."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(change(await request.json()))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            return web.json_response({"message": f"{type(error).__name__}: {error}"}, status=400)

    return answer


def _fault_list(faults: Faults) -> dict[str, Any]:
    listed = [{"fault": str(armed.fault), "seen": armed.seen, "applied": armed.applied} for armed in faults]
    return {"faults": listed}


def _replace_faults(faults: Faults, wanted: dict[str, Any]) -> dict[str, Any]:
    read = [Fault.parse(text) for text in wanted["faults"]]  # all or none
    faults.clear()
    faults.add(*read)
    return _fault_list(faults)


async def _documents(request: web.Request, catalogue: Catalogue) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    await response.prepare(request)
    ids, separator = list(catalogue), b"["
    for first in range(0, len(ids), 100):
        # each part as it is when its turn comes: an offer may vanish while we wait for the reader
        some = [catalogue[offer_id] for offer_id in ids[first : first + 100] if offer_id in catalogue]
        if some:
            await response.write(separator + b",".join(some))
            separator = b","
    await response.write_eof(b"[]" if separator == b"[" else b"]")
    return response


def _offer_endpoints(app: web.Application, catalogue: Catalogue) -> None:
    async def offers(request: web.Request) -> web.StreamResponse:
        return await _documents(request, catalogue)

    async def offer(request: web.Request) -> web.StreamResponse:
        offer_id = int(request.match_info["id"])
        if offer_id not in catalogue:
            return web.json_response({"message": f"no offer {offer_id}"}, status=404)
        return web.Response(body=catalogue[offer_id], content_type="application/json")

    app.router.add_get("/_sandbox/offers", offers)
    app.router.add_get(r"/_sandbox/offers/{id:\d{1,18}}", offer)


def add_control(app: web.Application, catalogue: Catalogue, faults: Faults, log: deque[Call]) -> None:
    """Add the endpoints above to the application."""

    async def calls(_: web.Request) -> web.StreamResponse:
        return web.json_response({"calls": [call.as_dict() for call in log]})

    async def forget(_: web.Request) -> web.StreamResponse:
        log.clear()
        return web.json_response({"calls": []})

    async def fault_list(_: web.Request) -> web.StreamResponse:
        return web.json_response(_fault_list(faults))

    async def heal(_: web.Request) -> web.StreamResponse:
        faults.clear()
        return web.json_response(_fault_list(faults))

    app.router.add_post("/_sandbox/mutate", _reading(lambda wanted: mutate(catalogue, wanted)))
    app.router.add_get("/_sandbox/faults", fault_list)
    app.router.add_post("/_sandbox/faults", _reading(lambda wanted: _replace_faults(faults, wanted)))
    app.router.add_delete("/_sandbox/faults", heal)
    app.router.add_get("/_sandbox/log", calls)
    app.router.add_delete("/_sandbox/log", forget)
    _offer_endpoints(app, catalogue)
