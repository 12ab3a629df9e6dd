"""Stalls of the worker are found and get the right name."""

import gc
from collections.abc import Iterator

import pytest

from dataflows.stalls import Stalls
from observability import metrics


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clocks() -> tuple[Clock, Clock]:
    return Clock(), Clock()


@pytest.fixture
def stalls(clocks: tuple[Clock, Clock]) -> Iterator[Stalls]:
    watched = Stalls(*clocks)
    yield watched
    watched.close()


def counted() -> dict[str, tuple[float, float]]:
    """Give the number and the seconds of the stalls so far, by cause."""
    return {
        cause: tuple(
            metrics.REGISTRY.get_sample_value(f"fraud_stall_seconds_{what}", {"cause": cause}) or 0.0
            for what in ("count", "sum")
        )
        for cause in ("snapshot", "collector", "batch", "waiting")
    }


def since(before: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Give what has been added, of the causes where something was."""
    now = counted()
    return {
        cause: (now[cause][0] - before[cause][0], pytest.approx(now[cause][1] - before[cause][1]))
        for cause in now
        if now[cause] != before[cause]
    }


def test_a_short_turn_is_no_stall(stalls: Stalls, clocks: tuple[Clock, Clock]) -> None:
    before = counted()

    clocks[0].now += 0.02
    stalls.turn()

    assert since(before) == {}


@pytest.mark.parametrize(("on_a_core", "cause"), [(0.06, "batch"), (0.01, "waiting")])
def test_a_long_turn_is_work_or_waiting(
    stalls: Stalls, clocks: tuple[Clock, Clock], on_a_core: float, cause: str
) -> None:
    before = counted()

    clocks[0].now += 0.08
    clocks[1].now += on_a_core
    stalls.turn()

    assert since(before) == {cause: (1.0, 0.08)}


def test_a_long_turn_with_a_snapshot_is_the_snapshots_and_the_next_one_is_not(
    stalls: Stalls, clocks: tuple[Clock, Clock]
) -> None:
    before = counted()

    stalls.snapshot()
    clocks[0].now += 0.05
    stalls.turn()
    clocks[0].now += 0.03
    stalls.turn()

    assert since(before) == {"snapshot": (1.0, 0.05), "waiting": (1.0, 0.03)}


def test_a_long_turn_that_the_collector_took_is_the_collectors(stalls: Stalls, clocks: tuple[Clock, Clock]) -> None:
    before = counted()

    def slow(phase: str, _: object) -> None:
        clocks[0].now += 0.04 if phase == "start" else 0

    gc.callbacks.append(slow)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(slow)
    stalls.turn()

    assert since(before) == {"collector": (1.0, 0.04)}
