"""Topics of few records, one by one: flags, and what became of accounts.

A consumer a partition, its position in the snapshots. What is no such record is counted and left out.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, Message, TopicPartition

from dataflows.connectors.kafka_offsets import offset_range
from dataflows.connectors.source import raise_if_lost
from dataflows.process import Process
from dataflows.risk_items import AllRead, Flagged, RefusedRecordError, StatusChanged
from observability import metrics

logger = logging.getLogger("fraud.source")

_AT_ONCE = 1_000
_IDLE_WAIT = timedelta(milliseconds=50)

Item = Flagged | StatusChanged | AllRead


@dataclass(frozen=True, slots=True)
class RecordsSource(FixedPartitionedSource[Item, bytes]):
    """One such topic.

    Attributes:
        process: For the settings.
        topic: Its name.
        read: Makes an item of a value and the time at which Kafka got it; raises `RefusedRecordError`.
    """

    process: Process
    topic: str
    read: Callable[[bytes, int], Item]

    def list_parts(self) -> list[str]:
        """Return the partitions of the topic."""
        self.process.open()
        return sorted(map(str, self.process.lane.partitions_of(self.topic)))

    def build_part(self, _step_id: str, for_part: str, resume_state: bytes | None) -> "RecordsPart":
        """Open a partition where its snapshot says, or at its beginning."""
        return RecordsPart(self, int(for_part), int(resume_state) if resume_state else 0)


class RecordsPart(StatefulSourcePartition[Item, bytes]):
    """One partition. Once it has read what was there at its start, it says so with `AllRead`.

    Args:
        source: Whose part it is.
        partition: Which one.
        offset: Where to begin.
    """

    def __init__(self, source: RecordsSource, partition: int, offset: int) -> None:
        self._source = source
        process, topic = source.process, source.topic
        self._ending = process.ending
        config = {
            **process.settings.kafka(),
            "group.id": process.settings.kafka_group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # what is gone was of sessions that are long over
            "error_cb": process.on_kafka_error,
        }
        self._consumer = Consumer(config, logger=logger)
        low, self._until = offset_range(self._consumer, topic, partition, process.settings.start_timeout_seconds)
        self._next_offset = max(low, offset)
        self._consumer.assign([TopicPartition(topic, partition, self._next_offset)])
        self._all_read: AllRead | None = AllRead(partition, len(process.lane.partitions_of(topic)))

    def next_batch(self) -> Iterable[Item]:
        """Return the records that are there; end when the service is to stop."""
        if self._ending.stopping:
            raise StopIteration
        items: list[Item] = []
        for message in self._consumer.consume(_AT_ONCE, 0):
            error = message.error()
            if error is not None:
                raise_if_lost(error, self._source.topic)
                continue
            self._next_offset = (message.offset() or 0) + 1
            items += self._read(message)
        if self._all_read is not None and self._next_offset >= self._until:
            items.append(self._all_read)
            self._all_read = None
        return items

    def _read(self, message: Message) -> list[Item]:
        try:
            return [self._source.read(message.value() or b"", message.timestamp()[1])]
        except RefusedRecordError as error:
            metrics.RECORDS_REFUSED.labels(self._source.topic, error.reason).inc()
            logger.warning(
                "%s: partition %s, offset %s: %s", self._source.topic, message.partition(), message.offset(), error
            )
            return []

    def next_awake(self) -> datetime | None:
        """Look again in a moment."""
        return datetime.now(UTC) + _IDLE_WAIT

    def snapshot(self) -> bytes:
        """Return the position."""
        return str(self._next_offset).encode()

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()
