"""What a run tells whoever watches it: the progress bar, later the daemon's live feed."""

from __future__ import annotations

from syncd.contract.runs import BatchResult, Claim, Sweep
from syncd.contract.words import Phase


class Observer:
    """Hears and ignores everything; override what is of interest."""

    def claimed(self, claim: Claim, sweep: Sweep) -> None:
        """The run has its stream."""

    def planning(self, claim: Claim, page_size: int) -> None:
        """The run has its stream; it is a dry one, which stores nothing."""

    def entered(self, phase: Phase, expected: int | None) -> None:
        """A phase began; expected records where known."""

    def stored(self, page_number: int, result: BatchResult, requests: int) -> None:
        """A batch that ends with this page is durable."""

    def retrying(self, error: str, attempt: int, seconds: float) -> None:
        """A call failed and will be repeated."""

    def waiting(self, reason: str, seconds: float) -> None:
        """A declared wait began."""
