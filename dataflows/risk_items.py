"""What travels between the steps of the risk flow: one class an arrow of the picture in `dataflows/risk.py`."""

from collections.abc import Mapping
from dataclasses import dataclass

from features.entities import Observed
from features.session_ends import EndedSessions


@dataclass(frozen=True, slots=True)
class Touched:
    """What a batch of one partition says of one shard's entities.

    Attributes:
        watermark_ms: The partition's watermark after the batch, 0 while there is none.
    """

    partition: int
    watermark_ms: int
    observed: Observed


@dataclass(frozen=True, slots=True)
class Ended:
    """Sessions of one partition, and of one shard's users, that are over.

    Attributes:
        ended_before_ms: All of the partition's sessions with a latest event before this have been told.
        is_news: Whether that is more than was told before: then every shard has to know.
    """

    partition: int
    ended_before_ms: int
    is_news: bool
    sessions: EndedSessions


@dataclass(frozen=True, slots=True)
class Flagged:
    """A session that was flagged.

    Attributes:
        at_ms: The triggering event's timestamp.
    """

    session_id: str
    user_id: str
    at_ms: int


class RefusedRecordError(ValueError):
    """A record says something that it should not.

    Args:
        reason: One word, for counting.
        text: What was expected and what was there; no ids.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """What an account may do from now on."""

    user_id: str
    status: str


@dataclass(frozen=True, slots=True)
class AllRead:
    """All records of one partition of their topic that were there when the process started have been read.

    Attributes:
        of: How many partitions there are.
    """

    partition: int
    of: int


@dataclass(frozen=True, slots=True)
class Value:
    """What Redis is to hold under a key.

    Attributes:
        text: None for nothing: the neutral value is not stored.
        ttl_seconds: After which it goes by itself; 0 for never.
    """

    text: str | None
    ttl_seconds: int = 0


Values = Mapping[str, Value]
"""By key."""
