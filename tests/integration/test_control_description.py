"""The OpenAPI document, against the routes, against its own standard, and against what the port really answers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from syncd.contract.words import Cause, Phase, Status
from syncd.control.server import load_description
from tests.control import FBE, MAIN, TOKEN, Port, open_port

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


def with_real_names(document: dict[str, Any], run_id: str, cursor: str) -> dict[str, Any]:
    """The document as a client knows it that has looked around: which streams, runs and cursors there are."""
    schemas = document["components"]["schemas"]
    schemas["StreamName"] = {"type": "string", "enum": [str(MAIN), str(FBE)]}
    schemas["SyncRequest"]["properties"]["account"] = {"type": "string", "enum": [MAIN.account]}
    schemas["SyncRequest"]["properties"]["stream"] = {"type": "string", "enum": [str(MAIN)]}  # of that account
    document["components"]["parameters"]["RunId"]["schema"] = {"type": "string", "enum": [run_id, str(uuid4())]}
    (by_name,) = [one for one in document["paths"]["/syncs"]["get"]["parameters"] if one["name"] == "cursor"]
    by_name["schema"] = {"type": "string", "enum": [cursor]}
    return document


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(200, marks=pytest.mark.prove)])
async def test_every_answer_is_one_that_the_document_has(port: Port, tmp_path: Path, examples: int) -> None:
    """schemathesis makes good and bad requests out of the document and compares the answers with it."""
    await port.post("/sync")
    _, _, history = await port.read("/syncs?limit=1")
    description = tmp_path / "openapi.json"
    real = with_real_names(load_description(), history["syncs"][0]["sync_id"], history["next_cursor"])
    description.write_text(json.dumps(real))
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run", str(description), "--url", port.url,
        "--header", f"Authorization: Bearer {TOKEN}",
        "--max-examples", str(examples), "--seed", "1", "--workers", "1",
        "--mode", "all", "--phases", "examples,coverage,fuzzing",
        "--generation-database", "none", "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
