"""What decoding passes along: a stretch of read events as columns, and the rows that were refused."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.events import EVENT_FRAME

EVENT_COLUMNS = tuple(name for name in EVENT_FRAME if name != "row")
"""What is read of an event, in the order of the event frame."""

STRING_COLUMNS = tuple(name for name in EVENT_COLUMNS if EVENT_FRAME[name] == pl.String)

Stage = Literal["decode", "validate", "admit"]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not an event we can use.

    Attributes:
        row: Position in the call's input.
        reason: Short code; becomes a metric's label and the dead letter's reason.
        stage: Where it was refused.
        error: In words and sizes; holds no ids, addresses or text of the record.
    """

    row: int
    reason: str
    stage: Stage
    error: str


@dataclass(frozen=True, slots=True)
class Part:
    """Events read in one go, not yet validated; every column has one element a row.

    Attributes:
        rows: int64, ascending positions in the call's input.
        columns: By name, those of `EVENT_COLUMNS`; `ip` as received.
        sizes: By name, int64 bytes of the values (0 for null), for `STRING_COLUMNS`.
        may_hold_controls: Whether any string may hold a control character; False is certain.
    """

    rows: NDArray[np.int64]
    columns: dict[str, pl.Series]
    sizes: dict[str, NDArray[np.int64]]
    may_hold_controls: bool
