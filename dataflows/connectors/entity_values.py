"""What is known of devices, users and inputs, to Redis: plain strings that the fraud flow looks up."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from redis.exceptions import ResponseError

from dataflows.connectors.redis_writer import Link
from dataflows.process import Process
from dataflows.risk_items import Value, Values
from features.snapshot import pack, pack_strings, unpack, unpack_strings
from observability import metrics

_KIND = "entity_values"
_AT_ONCE = 2_000
"""Commands of one pipeline: its replies must fit the socket's buffer while we still send."""


class ValueOutbox:
    """The values of one shard that Redis has not acknowledged: the newest of each key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Value] = {}

    def put(self, values: Values) -> None:
        """Add values; a later one of a key replaces an earlier one."""
        with self._lock:
            self._pending.update(values)

    def connected(self) -> None:
        """Do nothing: a lost value comes back when the entity is next seen."""

    def write_to(self, link: Link) -> None:
        """Write everything pending; keep it if the call fails."""
        with self._lock:
            sent = dict(self._pending)
        keys = list(sent)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            replies = link.call(*(_command(key, sent[key]) for key in some))
            metrics.ENTITY_VALUES_WRITTEN.inc(sum(not isinstance(reply, ResponseError) for reply in replies))
        with self._lock:
            # What was replaced meanwhile is still to be written.
            self._pending = {key: value for key, value in self._pending.items() if sent.get(key) is not value}

    def snapshot(self) -> bytes:
        """Write what is pending as bytes."""
        with self._lock:
            pending = dict(self._pending)
        texts = [*pending, *(value.text or "" for value in pending.values())]
        ttl = np.array([value.ttl_seconds for value in pending.values()], dtype=np.int64)
        is_none = np.array([value.text is None for value in pending.values()], dtype=np.bool_)
        return pack(_KIND, {"ttl": ttl, "is_none": is_none, **pack_strings(texts)}) if pending else b""

    def restore(self, stored: bytes) -> None:
        """Take over what a snapshot had pending; raises `SnapshotError` if the bytes are something else."""
        if not stored:
            return
        columns = unpack(_KIND, stored).columns
        texts, ttl = unpack_strings(columns), columns["ttl"].tolist()
        rows = zip(texts[: len(ttl)], texts[len(ttl) :], ttl, columns["is_none"].tolist(), strict=True)
        self._pending = {key: Value(None if is_none else text, seconds) for key, text, seconds, is_none in rows}


def _command(key: str, value: Value) -> tuple[str | int, ...]:
    if value.text is None:
        return "DEL", key
    expiry = ("EX", value.ttl_seconds) if value.ttl_seconds else ()
    return ("SET", key, value.text, *expiry)


@dataclass(frozen=True, slots=True)
class EntityValueSink(FixedPartitionedSink[Mapping[str, Value], bytes]):
    """Keeps what Redis holds of entities up to date; one part a shard.

    Attributes:
        process: For Redis, and the end.
        shards: How many.
    """

    process: Process
    shards: int

    def list_parts(self) -> list[str]:
        """Return one part a shard, in the order of the engine."""
        return sorted(map(str, range(self.shards)))

    def part_fn(self, item_key: str) -> int:
        """Give every shard its own part."""
        return self.list_parts().index(item_key)

    def build_part(self, _step_id: str, _for_part: str, resume_state: bytes | None) -> "EntityValuePart":
        """Open a part, with what its snapshot had pending."""
        outbox = ValueOutbox()
        outbox.restore(resume_state or b"")
        self.process.redis_writer.add(outbox)
        return EntityValuePart(self.process, outbox)


@dataclass(frozen=True, slots=True)
class EntityValuePart(StatefulSinkPartition[Mapping[str, Value], bytes]):
    """One shard's values."""

    process: Process
    outbox: ValueOutbox

    def write_batch(self, values: list[Values]) -> None:
        """Leave the values for the writer."""
        for each in values:
            self.outbox.put(each)

    def snapshot(self) -> bytes:
        """Return what Redis has not acknowledged; at the end it gets a moment to do so."""
        if self.process.ending.stopping:
            self.process.redis_writer.drain()
        return self.outbox.snapshot()
