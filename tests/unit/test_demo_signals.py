"""The demo turns signals into exceptions; one that is raised where Python swallows it must not be forgotten."""

from __future__ import annotations

import signal
import time

import pytest

from syncd.demo.story import Stopped, _signals_as_exceptions

DEADLINE_SECONDS = 20


class SignalledWhileFinalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_signal_that_a_finalizer_swallows_arrives_a_moment_later() -> None:
    def stop() -> None:
        with _signals_as_exceptions():
            SignalledWhileFinalized()
            time.sleep(DEADLINE_SECONDS)

    with pytest.raises(Stopped) as stopped:
        stop()
    assert stopped.value.number == signal.SIGINT
