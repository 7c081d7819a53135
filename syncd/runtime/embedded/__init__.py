"""A private PostgreSQL in one folder, for the demo and the tests."""

from syncd.runtime.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
