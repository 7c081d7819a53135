"""The floor: COPY of the finished JSON into one column, nothing else. No API, no keys, no comparison, no fields.

The rows lie ready in memory as COPY's binary format. Prints the seconds from BEGIN to the end of COMMIT.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import psycopg

BLOCK_BYTES = 1024 * 1024
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)


def write_rows(path: Path, documents: list[bytes]) -> None:
    """The documents as a file in COPY's binary format, one column a row."""
    with path.open("wb") as file:
        file.write(_HEADER)
        for document in documents:
            file.write(struct.pack("!hi", 1, len(document)) + document)
        file.write(_TRAILER)


def main() -> None:
    """Load the file named on the command line into the table `offer`."""
    rows = memoryview(Path(sys.argv[1]).read_bytes())
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        started = time.monotonic()
        with cursor.copy("COPY offer (document) FROM STDIN (FORMAT BINARY)") as copy:
            for start in range(0, len(rows), BLOCK_BYTES):
                copy.write(rows[start : start + BLOCK_BYTES])
        connection.commit()
        print(time.monotonic() - started)


if __name__ == "__main__":
    main()
