"""Examples from the simulated bank, for training and evaluation alike."""

from itertools import islice

import polars as pl

from model.examples import Examples, examples_of
from model.simulator import SimulatorConfig, frame_of, simulate

RATE = 50.0
"""Events a second: the pace of the demo, so that a model learns the rhythm in which it will serve."""

START_MS = 1_749_531_600_000
"""Event time of the first event, 2025-06-10 05:00 UTC: a fixed one, because a model is named by its content."""

_SLICE = 50_000
"""Events held as Python objects at a time: a kilobyte each."""


def simulated_examples(seed: int, events: int) -> Examples:
    """Return the examples of one bank's stream.

    Args:
        seed: Of the bank.
        events: Rows wanted.
    """
    stream = simulate(SimulatorConfig(), seed, RATE, START_MS)
    slices = [min(_SLICE, events - taken) for taken in range(0, events, _SLICE)]
    return examples_of(pl.concat([frame_of(islice(stream, rows)) for rows in slices]))
