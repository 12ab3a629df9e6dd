"""The engine's view of a stateful step: one logic a partition, kept for as long as the process lives."""

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from bytewax.operators import StatefulBatchLogic

logger = logging.getLogger("fraud.steps")


class State(Protocol):
    """State of one partition that can be written and read back."""

    def snapshot(self) -> bytes:
        """Return the state as it is now."""

    def restore(self, stored: bytes, /) -> object:
        """Take over what a snapshot holds."""


S = TypeVar("S", bound=State)


class PartitionLogic(StatefulBatchLogic[Any, Any, bytes]):
    """Runs a step for the engine. Never discarded: a key that was dropped leaves a row in the store for ever."""

    def __init__(self, step: Callable[[Any], Any], state: State) -> None:
        self._step = step
        self._state = state

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        """Turn each item into the next."""
        return run_step(self._step, values), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Any], bool]:
        """Emit nothing and keep everything: the end of the input is the end of this run, not of the stream."""
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Return the state as it is now."""
        return self._state.snapshot()


def run_step(step: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    """Turn each item into the next. An error is logged here, since a cluster of the engine can lose it."""
    try:
        return [step(value) for value in values]
    except Exception:
        logger.exception("step %s failed", type(step).__name__)
        raise


def partition_state(
    step: Callable[[S], Callable[[Any], Any]], empty: Callable[[], S]
) -> Callable[[bytes | None], PartitionLogic]:
    """Return what the engine calls for each partition: a step over restored, or empty, state."""

    def build(resume_state: bytes | None) -> PartitionLogic:
        state = empty()
        if resume_state is not None:
            state.restore(resume_state)
        return PartitionLogic(step(state), state)

    return build
