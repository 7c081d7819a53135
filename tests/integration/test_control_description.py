"""The OpenAPI document, against the routes, against its own standard, and against what the port really answers."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from syncd.contract.words import Cause, Phase, Status, Stream
from syncd.control.server import load_description
from syncd.ledger import accounts
from syncd.ledger.queue import Queued, Wanted, enqueue
from tests.control import FBE, MAIN, TOKEN, Port, open_port
from tests.streams import execute, with_schema

EXAMPLES = 10


@pytest.fixture
async def port(database: str) -> AsyncIterator[Port]:
    async with open_port(database) as opened:
        yield opened


async def test_the_document_has_every_route_and_no_other(port: Port) -> None:
    described = {
        (method.upper(), path)
        for path, operations in load_description()["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert described == {(route.method, route.path) for route in port.control.routes}


async def test_the_document_says_where_the_token_is_needed(port: Port) -> None:
    paths = load_description()["paths"]
    for route in port.control.routes:
        security = paths[route.path][route.method.lower()].get("security", [])
        assert (security == [{"token": []}]) == (route.need.name == "CHANGE"), route.path


def test_the_document_is_valid_openapi_3_1() -> None:
    document = load_description()
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_s_words_are_ours() -> None:
    schemas = load_description()["components"]["schemas"]
    assert schemas["Status"]["enum"] == list(Status)
    assert schemas["Cause"]["enum"] == [*Cause, None]
    assert schemas["Phase"]["enum"] == list(Phase)


async def test_the_document_is_served(port: Port) -> None:
    assert (await port.read("/openapi.json"))[2] == load_description()


OTHERS = tuple(Stream("emag", f"other-{number}", "offers") for number in range(3))
"""Each has a run that is asked to end, and never does: it can be cancelled any number of times."""


async def open_runs(port: Port) -> list[str]:
    """Their ids."""
    ids = []
    for stream in OTHERS:
        await accounts.register(port.service.postgres, stream)
        queued = await enqueue(port.service.postgres, stream, Wanted("test"))
        assert isinstance(queued, Queued)
        ids.append(str(queued.run_id))
    return ids


async def keep_going(database: str) -> None:
    """What a worker and a person would do meanwhile: requested runs end, pauses are lifted."""
    async with await psycopg.AsyncConnection.connect(with_schema(database), autocommit=True) as connection:
        while True:
            await connection.execute("UPDATE stream SET paused_at = NULL WHERE paused_at IS NOT NULL")
            await connection.execute(
                "UPDATE run SET status = 'complete', cause = 'end_of_data', completed_at = clock_timestamp(),"
                " started_at = queued_at WHERE completed_at IS NULL AND initiated_by <> 'test'"
            )
            await asyncio.sleep(0.05)


def with_real_names(document: dict[str, Any], run_ids: list[str], cursor: str) -> dict[str, Any]:
    """The document as a client knows it that has looked around: which streams, runs and cursors there are."""
    schemas = document["components"]["schemas"]
    schemas["StreamName"] = {"type": "string", "enum": [str(one) for one in (MAIN, FBE, *OTHERS)]}
    schemas["SyncRequest"]["properties"]["account"] = {"type": "string", "enum": [MAIN.account]}
    schemas["SyncRequest"]["properties"]["stream"] = {"type": "string", "enum": [str(MAIN)]}  # of that account
    document["components"]["parameters"]["RunId"]["schema"] = {"type": "string", "enum": [*run_ids, str(uuid4())]}
    (by_name,) = [one for one in document["paths"]["/syncs"]["get"]["parameters"] if one["name"] == "cursor"]
    by_name["schema"] = {"type": "string", "enum": [cursor]}
    # a key that comes again with another body is refused, and rightly so; keys have tests of their own
    asked = document["paths"]["/sync"]["post"]["parameters"]
    asked[:] = [one for one in asked if not one["$ref"].endswith("/IdempotencyKey")]
    return document


def never_served(calls: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """The operations of the document that no call had a success from. calls: entries of an HTTP archive."""
    served = {
        (call["request"]["method"], urlsplit(call["request"]["url"]).path)
        for call in calls
        if 200 <= call["response"]["status"] < 300
    }
    patterns = {
        (method.upper(), path): re.compile(path.replace("{id}", "[0-9a-f-]{36}"))
        for path, operations in load_description()["paths"].items()
        for method in operations
        if method != "parameters"
    }
    return {
        operation
        for operation, pattern in patterns.items()
        if not any(method == operation[0] and pattern.fullmatch(path) for method, path in served)
    }


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(200, marks=pytest.mark.prove)])
async def test_every_answer_is_one_that_the_document_has(database: str, tmp_path: Path, examples: int) -> None:
    """schemathesis makes good and bad requests out of the document and compares the answers with it."""
    async with open_port(database, streams=(MAIN, FBE, *OTHERS)) as port:
        output, code, calls = await tried(port, database, tmp_path, examples)
    assert code == 0, output[-6000:]
    assert not never_served(calls), "no success of these was compared with the document"


async def tried(port: Port, database: str, folder: Path, examples: int) -> tuple[str, int | None, list[dict[str, Any]]]:
    """What schemathesis printed, its exit code, and every call that it made."""
    run_ids = await open_runs(port)
    consent = "INSERT INTO consent (run_id, stream_id, keys, live) SELECT run_id, stream_id, '{1,2}', 2 FROM run"
    execute(database, consent)
    execute(database, "UPDATE run SET status = 'running', started_at = clock_timestamp()")
    _, _, history = await port.read("/syncs?limit=1")
    description, archive = folder / "openapi.json", folder / "calls.har"
    description.write_text(json.dumps(with_real_names(load_description(), run_ids, history["next_cursor"])))
    worker = asyncio.create_task(keep_going(database))
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run", str(description), "--url", port.url,
        "--header", f"Authorization: Bearer {TOKEN}",
        "--max-examples", str(examples), "--seed", "1", "--workers", "1",
        "--mode", "all", "--phases", "examples,coverage,fuzzing",
        "--generation-database", "none", "--no-color",
        "--report", "har", "--report-har-path", str(archive),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    worker.cancel()
    return output.decode(), process.returncode, json.loads(archive.read_bytes())["log"]["entries"]
