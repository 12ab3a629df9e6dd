"""Kafka to the flow: one consumer a worker, one part a partition, offsets in the snapshots.

The consumer's group serves only to publish offsets, so that lag tools work: partitions are assigned by us, and the
position that counts is the one in the snapshot. When a part's snapshot is asked for, everything up to its previous
one is durable; that offset is committed to the group.
"""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.connectors.first_contact import with_right
from dataflows.connectors.start_offsets import Position, StartOffsets
from dataflows.items import Headers, RawBatch
from dataflows.process import Process
from dataflows.stalls import Stalls
from features.session import FEATURE_SET_ID
from observability import metrics

logger = logging.getLogger("fraud.source")

BATCH_RECORDS = 20_000
"""The most records of one poll: what is pending is taken, so a batch is small while we keep up."""

_HELD_WAIT = timedelta(milliseconds=100)
_FOR_GOOD = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own names
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._AUTHENTICATION,  # noqa: SLF001
    }
)
"""What does not pass while the process lives."""
_LOOK_SECONDS = 0.05
_LOOK_AGAIN_SECONDS = 1.0
_HEADER = slice(0, 5)
"""The framing's byte 0 and the schema id in four bytes."""
_KEYED = tuple[str, RawBatch]


class SourceError(RuntimeError):
    """Reading cannot go on."""


class EventsSource(FixedPartitionedSource[_KEYED, bytes]):
    """The events of this lane's partitions.

    Args:
        service: Settings, and what else the process has only one of.
    """

    def __init__(self, service: Process) -> None:
        self._service = service
        self._polls: dict[int, Poll] = {}

    def list_parts(self) -> list[str]:
        """Return the partitions; the first thing that the engine asks, so the service opens here."""
        self._service.open()
        return self._service.lane.keys()

    def build_part(self, _step_id: str, for_part: str, resume_state: bytes | None) -> "EventsPart":
        """Open a partition where its snapshot says, or where the start policy says."""
        poll = self._polls.get(threading.get_ident())
        if poll is None:
            poll = self._polls[threading.get_ident()] = Poll(self._service)
        position = Position.from_bytes(resume_state) if resume_state else None
        return poll.open_part(int(for_part), position)


class Poll:
    """One consumer for all the partitions of a worker, demultiplexed to its parts.

    Args:
        service: As for `EventsSource`.
    """

    def __init__(self, service: Process) -> None:
        self.service = service
        self._topic = service.settings.events_topic
        self._parts: dict[int, EventsPart] = {}
        self._opened: list[EventsPart] = []
        self._to_commit: dict[int, int] = {}
        self._look_at = 0.0
        self._fetches = True
        self.stalls = Stalls()
        self._consumer = Consumer(_consumer_config(service), logger=logger)
        self._offsets = StartOffsets(self._consumer, service.settings)
        service.on_clean_end(self._commit_final)

    def open_part(self, partition: int, position: Position | None) -> "EventsPart":
        """Open a part; it is read from the next poll on."""
        if position is None:
            position = Position(self._offsets.first(partition), 0, self.service.deployed())
        else:
            self._offsets.check(partition, position.offset)
            position = self._with_todays_features(position)
        self.service.use(position.configuration)
        part = EventsPart(self, partition, position)
        self._parts[partition] = part
        self._opened.append(part)
        return part

    def _with_todays_features(self, position: Position) -> Position:
        """Take the deployed configuration where the stored one was made for features that this release has not."""
        if position.configuration.feature_set_id == FEATURE_SET_ID:
            return position
        logger.warning(
            "the state is of feature set %s: the deployed model decides", position.configuration.feature_set_id
        )
        return replace(position, configuration=self.service.deployed())

    def fill(self) -> None:
        """Give every part what is pending, unless some part still has records to hand on."""
        self.stalls.turn()
        self._assign_opened()
        self._note_first_fetch()
        if any(part.has_pending for part in self._parts.values()):
            return
        self._commit()
        self._look_for_kafka()
        by_partition: dict[int, list[Message]] = {}
        for message in self._consumer.consume(BATCH_RECORDS, 0):
            error = message.error()
            if error is not None:
                raise_if_lost(error, self._topic)
                continue
            by_partition.setdefault(int(message.partition() or 0), []).append(message)
        for partition, messages in by_partition.items():
            self._parts[partition].receive(messages)

    def _look_for_kafka(self) -> None:
        """See whether Kafka is back: librdkafka says that it lost all brokers, and not that it found one again."""
        if not self.service.readiness.reasons.get("kafka") or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_AGAIN_SECONDS
        try:
            self._consumer.get_watermark_offsets(TopicPartition(self._topic, min(self._parts)), _LOOK_SECONDS)
        except KafkaException:
            return
        self.service.readiness.report("kafka")

    def _assign_opened(self) -> None:
        if self._opened:
            at = [TopicPartition(self._topic, part.partition, part.next_offset) for part in self._opened]
            self._consumer.incremental_assign(at)
            self._opened.clear()
            self._fetches = False
            self.service.readiness.report("events", "no answer to the first fetch yet")

    def _note_first_fetch(self) -> None:
        """Be ready only when the brokers have answered: what is produced before that waits for a moment."""
        if not self._fetches and all(self._high(partition) >= 0 for partition in self._parts):
            self._fetches = True
            self.service.readiness.report("events")

    def unread(self, partition: int, next_offset: int) -> int:
        """Return how many records are known to lie behind an offset."""
        return max(self._high(partition) - next_offset, 0)

    def _high(self, partition: int) -> int:
        """Return the end of a partition as the last fetch told it, negative before the first."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return int(high)

    def pause(self, partition: int) -> None:
        """Stop fetching a partition."""
        self._consumer.pause([TopicPartition(self._topic, partition)])

    def resume(self, partition: int) -> None:
        """Fetch a partition again."""
        self._consumer.resume([TopicPartition(self._topic, partition)])

    def durable(self, partition: int, offset: int) -> None:
        """Note that everything before an offset is durable; it is committed with the next poll."""
        self._to_commit[partition] = offset

    def _commit(self) -> None:
        """Publish durable offsets to the group. Nothing depends on it, so a failure is only said."""
        if self._to_commit:
            at = [TopicPartition(self._topic, p, offset) for p, offset in self._to_commit.items()]
            self._to_commit.clear()
            self._consumer.commit(offsets=at, asynchronous=True)

    def _commit_final(self) -> None:
        """After a clean end everything read is durable, the last epoch too."""
        if self.service.has_snapshots:
            at = [TopicPartition(self._topic, part.partition, part.next_offset) for part in self._parts.values()]
            try:
                self._consumer.commit(offsets=at, asynchronous=False)
            except KafkaException as error:
                logger.warning("the final offsets could not be published: %s", error.args[0].str())
        self._consumer.close()


class EventsPart(StatefulSourcePartition[_KEYED, bytes]):
    """One partition: what was polled for it and not handed on yet, and where it is.

    Args:
        poll: The worker's consumer.
        partition: Which one.
        position: Where to begin.
    """

    def __init__(self, poll: Poll, partition: int, position: Position) -> None:
        self.partition = partition
        self.next_offset = position.offset
        self._poll = poll
        self._key = str(partition)
        self._consumed = position.consumed
        self._configuration = position.configuration
        self._pending: list[Message] = []
        self._held = False
        self._durable_next: int | None = None
        self._in_pieces = not poll.service.settings.whole_snapshots
        self._snapshots = position.snapshots
        self._is_in_next = False
        """Whether the next snapshot will have a batch."""

    @property
    def has_pending(self) -> bool:
        """Whether records wait to be handed on; a held partition keeps nobody waiting."""
        return bool(self._pending) and not self._held

    def receive(self, messages: list[Message]) -> None:
        """Take what was polled for this partition."""
        self._pending.extend(messages)

    def next_batch(self) -> Iterable[_KEYED]:
        """Hand on what is pending; end when the service is to stop."""
        if self._poll.service.ending.stopping:
            raise StopIteration
        self._poll.fill()
        if not self._pending:
            return []
        values = [message.value() for message in self._pending]
        count = self._decodable(values)
        taken, self._pending = self._pending[:count], self._pending[count:]
        return [(self._key, self._batch(taken, values[:count]))] if taken else []

    def _decodable(self, values: list[bytes | None]) -> int:
        """Return how many of the pending records come before the first whose schema is not there yet."""
        headers = [value[_HEADER] if value else b"" for value in values]
        waiting = {header for header in set(headers) if self._must_wait(header)}
        self._hold(bool(waiting))
        return next(at for at, header in enumerate(headers) if header in waiting) if waiting else len(values)

    def _must_wait(self, header: bytes) -> bool:
        """Say whether records that begin like this have a schema that is not there yet; what is no frame need not."""
        is_frame = len(header) == _HEADER.stop and header[0] == 0
        return is_frame and self._poll.service.writers.find(int.from_bytes(header[1:])) == "waiting"

    def _hold(self, held: bool) -> None:
        """Pause or resume the partition while it waits for a schema."""
        if held != self._held:
            self._held = held
            (self._poll.pause if held else self._poll.resume)(self.partition)
            metrics.PARTITION_HELD.labels(self._key).set(held)
            logger.warning("partition %d %s", self.partition, "waits for a schema" if held else "goes on")

    def _batch(self, messages: list[Message], values: list[bytes | None]) -> RawBatch:
        self.next_offset = (messages[-1].offset() or 0) + 1
        self._consumed += len(messages)
        unread = self._poll.unread(self.partition, self.next_offset)
        metrics.CONSUMER_LAG.labels(self._key).set(unread)
        metrics.PARTITION_RECORDS.labels(self._key, "consumed").set(self._consumed)
        return RawBatch(
            partition=self.partition,
            configuration=self._configuration,
            values=values,
            keys=[message.key() for message in messages],
            headers=[cast("Headers | None", message.headers()) for message in messages],
            offsets=np.array([message.offset() for message in messages], dtype=np.int64),
            kafka_ms=np.array([message.timestamp()[1] for message in messages], dtype=np.int64),
            unread=unread,
            opens_snapshot=self._opened_snapshot(),
        )

    def _opened_snapshot(self) -> int | None:
        """Return the number of the next snapshot with its first batch."""
        if self._is_in_next or not self._in_pieces:
            return None
        self._is_in_next = True
        return self._snapshots + 1

    def next_awake(self) -> datetime | None:
        """Come back at once while there is something to do."""
        if self.has_pending:
            return None
        return datetime.now(UTC) + (_HELD_WAIT if self._held else self._poll.service.idle_wait)

    def snapshot(self) -> bytes:
        """Return the position. The one returned before is durable now, and a new configuration takes over here."""
        self._poll.service.snapshot_begun()
        self._poll.stalls.snapshot()
        if self._durable_next is not None:
            self._poll.durable(self.partition, self._durable_next)
        self._durable_next = self.next_offset
        self._configuration = self._poll.service.deployed()
        self._snapshots += self._is_in_next
        self._is_in_next = False
        return Position(self.next_offset, self._consumed, self._configuration, self._snapshots).to_bytes()


def _consumer_config(service: Process) -> dict[str, Any]:
    return {
        **service.settings.kafka(),
        "group.id": service.settings.kafka_group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest" if service.settings.accept_gap else "error",
        "enable.partition.eof": False,
        "fetch.wait.max.ms": 10,
        "fetch.error.backoff.ms": 50,
        "fetch.queue.backoff.ms": 5,  # the default, 1 s, is how long it would rest whenever the queue has been full
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 65_536,
        "error_cb": service.on_kafka_error,
        "on_commit": partial(_say_if_not_committed, service.settings.kafka_group),
    }


def _say_if_not_committed(group: str, error: KafkaError | None, _: list[TopicPartition]) -> None:
    """Say that progress is not published: nothing depends on it but tools that watch it."""
    if error is not None:
        logger.warning("offsets are not published: %s", with_right(error, f"READ on group {group}"))


def raise_if_lost(error: KafkaError, topic: str) -> None:
    """Let librdkafka retry what passes by itself; stop where records would be skipped, or never come."""
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own name for it
        msg = f"records were dropped by Kafka before they were read: {error.str()}; ACCEPT_GAP=1 goes on without them"
        raise SourceError(msg)
    if error.fatal() or error.code() in _FOR_GOOD:
        msg = f"cannot read from Kafka: {with_right(error, f'READ on topic {topic}')}"
        raise SourceError(msg)
    logger.warning("Kafka: %s", error.str())
