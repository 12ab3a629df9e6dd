"""Weeks of the simulated bank, for training and evaluation alike, as anybody's stored events and labels."""

import polars as pl

from model.labels import labels_of
from model.simulator import SimulatorConfig, another_world, history

START_MS = 1_749_513_600_000
"""Event time of the beginning, 2025-06-10 00:00 UTC: a fixed one, because a model is named by its content."""

UNSEEN_WORLDS = 100
"""Worlds from this number on are for evaluation: training never takes one."""


def world(
    number: int, seed: int, days: int, config: SimulatorConfig | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events and labels of one world.

    Args:
        number: Of the world: its attack parameters, habits and drift; 0 is the default bank.
        seed: Of everything random in it.
        days: How many.
        config: The bank that the world is a variation of.
    """
    events, labels = history(another_world(config or SimulatorConfig(), number), seed, days, START_MS)
    return events, labels_of(labels, "of the simulated bank")
