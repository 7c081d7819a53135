"""The README's queries run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_the_queries_of_the_readme_run(database: str) -> None:
    [block] = re.findall(r"^```sql\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    queries = [query for query in block.split(";") if query.strip()]
    assert len(queries) == 5
    with psycopg.connect(database) as connection:
        for query in queries:
            assert connection.execute(query.encode()).fetchall() == []
