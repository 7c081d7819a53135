"""The scenes of the acceptance tests: a sandbox, a PostgreSQL, and the programs between them."""

from tests.acceptance.conftest import scene, start

__all__ = ["scene", "start"]
