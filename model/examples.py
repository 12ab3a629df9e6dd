"""Labelled events as the trainer sees them: the live features of every event, and which session it belongs to.

It must never let a later session teach about an earlier one: parts are cut by the time at which sessions start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.live_sessions import features_of
from schemas.events import TRANSFER

HONEST = "honest"
SHARES = (0.6, 0.2, 0.2)
"""Shares of the sessions to train, to calibrate and to test."""


class ExamplesError(ValueError):
    """There are too few sessions to learn from, or to judge by."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows to learn from or to judge by, one an event, in stream order.

    Attributes:
        matrix: float64 (rows, features), as the live flow would have computed it.
        label: int8, 1 from an attack's onset on; rows before it are honest.
        session: int64, sessions numbered by their start.
        kind: Attack kind of the row's session, `HONEST` where it has none.
        is_transfer: bool, true where the event moves money.
    """

    matrix: NDArray[np.float64]
    label: NDArray[np.int8]
    session: NDArray[np.int64]
    kind: NDArray[np.str_]
    is_transfer: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[Any]) -> Self:
        """Return some of the rows, by mask or index."""
        return type(self)(**{name: getattr(self, name)[rows] for name in self.__slots__})


def examples_of(frame: pl.DataFrame) -> Examples:
    """Make examples of a labelled event frame.

    Args:
        frame: In stream order, columns of `EVENT_FRAME` and `label` (0 or 1), `kind` (empty for honest sessions).
    """
    kind = frame["kind"].replace("", HONEST)
    return Examples(
        matrix=features_of(frame),
        label=frame["label"].cast(pl.Int8).to_numpy(),
        session=_numbered_by_start(frame),
        kind=np.array(kind.to_list(), dtype=np.str_),
        is_transfer=(frame["event_type"] == TRANSFER).to_numpy(),
    )


def split_by_start(examples: Examples) -> tuple[Examples, Examples, Examples]:
    """Cut examples into training, calibration and test, in the order in which the sessions started.

    Raises:
        ExamplesError: If a part has no fraud or nothing honest.
    """
    sessions = int(examples.session.max(initial=-1)) + 1
    first, second = int(sessions * SHARES[0]), int(sessions * (SHARES[0] + SHARES[1]))
    part = np.searchsorted([first, second], examples.session, side="right")
    train, calibrate, test = (examples.take(part == number) for number in range(3))
    for name, rows in (("training", train), ("calibration", calibrate), ("test", test)):
        honest, fraud = int((rows.kind == HONEST).sum()), int(rows.label.sum())
        if not (honest and fraud):
            msg = f"{name} needs honest sessions and fraud, got {honest} honest and {fraud} fraudulent events"
            raise ExamplesError(msg)
    return train, calibrate, test


def _numbered_by_start(frame: pl.DataFrame) -> NDArray[np.int64]:
    starts = frame.group_by("session_id", maintain_order=True).agg(pl.col("timestamp").min())
    numbered = starts.sort("timestamp", maintain_order=True).with_row_index("number")
    joined = frame.select("session_id").join(numbered, on="session_id", how="left", maintain_order="left")
    return joined["number"].cast(pl.Int64).to_numpy()


def together(parts: Sequence[Examples]) -> Examples:
    """Put the examples of several streams behind each other; no session of one is one of another."""
    before = np.cumsum([0, *(int(part.session.max(initial=-1)) + 1 for part in parts)])
    sessions = [part.session + offset for part, offset in zip(parts, before.tolist(), strict=False)]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Examples.__slots__}
    return Examples(**(columns | {"session": np.concatenate(sessions)}))
