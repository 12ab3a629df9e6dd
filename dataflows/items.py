"""What travels between the steps of the fraud flow: one class an arrow of the picture in `dataflows/fraud.py`.

An item is always a batch of one partition, never an event: the engine's cost is by item.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events import EventColumns
from features.live_sessions import SessionRows, Update
from features.page_windows import PageCount
from model.decision import Crossing, Level
from schemas.codec import Reject

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What decides, besides the events; changed only at a snapshot, so that a replay decides as the first run did."""

    model_id: str
    feature_set_id: str
    levels: tuple[Level, ...]
    enrichment: str

    @property
    def id(self) -> str:
        """A name for exactly this configuration."""
        return _id_of(self)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `as_json` gave."""
        levels = tuple(Level(**level) for level in value["levels"])
        return cls(value["model_id"], value["feature_set_id"], levels, value["enrichment"])


@lru_cache(maxsize=64)
def _id_of(configuration: Configuration) -> str:
    """Return the name; every flag carries it, and it costs as much as the rest of a flag."""
    return hashlib.sha256(json.dumps(configuration.as_json(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Records as they were read, in offset order, one element a record in every list.

    Attributes:
        offsets: int64.
        kafka_ms: int64, the record's own timestamp in Kafka.
        unread: Records of the partition that are known to lie behind this batch.
        opens_snapshot: The number of the partition's next snapshot, on the first batch that will be in it, where
            snapshots are in pieces; None otherwise.
    """

    partition: int
    configuration: Configuration
    values: list[bytes | None]
    keys: list[bytes | None]
    headers: list[Headers | None]
    offsets: NDArray[np.int64]
    kafka_ms: NDArray[np.int64]
    unread: int
    opens_snapshot: int | None = None


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The batch's valid events, and what is wrong with the others.

    Attributes:
        events: Event frame (row is the place in `raw`) with `offset` and `kafka_ms`; pages are in normal form.
        columns: Their numbers.
    """

    raw: RawBatch
    events: pl.DataFrame
    columns: EventColumns
    rejects: list[Reject]

    @property
    def partition(self) -> int:
        """The partition it was read from."""
        return self.raw.partition

    @property
    def opens_snapshot(self) -> int | None:
        """As for `RawBatch`."""
        return self.raw.opens_snapshot


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not scored, whole, and why."""

    value: bytes | None
    key: bytes | None
    headers: Headers
    partition: int
    offset: int
    kafka_ms: int
    reason: str
    stage: str
    error: str


@dataclass(frozen=True, slots=True)
class AdmittedBatch:
    """The events that count.

    Attributes:
        watermark_ms: The partition's watermark after the batch.
        opens_snapshot: As for `RawBatch`.
    """

    partition: int
    configuration: Configuration
    events: pl.DataFrame
    columns: EventColumns
    dead_letters: list[DeadLetter]
    watermark_ms: int | None
    unread: int
    opens_snapshot: int | None


@dataclass(frozen=True, slots=True)
class PageCounts:
    """The page counts that a batch changed, and until when the partition's minutes are open."""

    partition: int

    counts: list[PageCount]
    watermark_ms: int | None
    unread: int


@dataclass(frozen=True, slots=True)
class EnrichedBatch:
    """The events with the answers of the stores, and the stores that did not answer.

    Attributes:
        columns: With the answers as the features want them.
        as_read: The answers of each store as they were read, one an event, by name.
        opens_snapshot: As for `RawBatch`.
    """

    partition: int
    configuration: Configuration
    events: pl.DataFrame
    columns: EventColumns
    as_read: Mapping[str, Sequence[float | str | bytes]]
    watermark_ms: int | None
    degraded: tuple[str, ...]
    opens_snapshot: int | None


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """The events, on their way through the features or behind it."""

    enriched: EnrichedBatch
    update: Update

    @property
    def rows(self) -> SessionRows:
        """The features, one row an event."""
        return self.update.rows


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The same with scores: float64, one an event; `raw` is the model's own, `score` the calibrated one."""

    features: FeatureBatch
    raw: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """The same with the sessions' crossings."""

    scored: ScoredBatch
    crossings: list[Crossing]
