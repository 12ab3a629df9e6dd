"""The fraud flow's own flags, read back: which sessions nobody should learn from.

Few records, so plain ones: a consumer a partition, read one by one, their position in the snapshots.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, TopicPartition

from dataflows.connectors.first_contact import FirstContact
from dataflows.connectors.kafka_offsets import offset_range
from dataflows.connectors.source import raise_if_lost
from dataflows.process import Process
from dataflows.risk_items import Flagged, FlagsRead
from observability import metrics
from schemas import catalogue

logger = logging.getLogger("fraud.source")

_AT_ONCE = 1_000
_IDLE_WAIT = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class FlagsSource(FixedPartitionedSource[Flagged | FlagsRead, bytes]):
    """The flags topic.

    Attributes:
        process: For the settings.
    """

    process: Process

    def list_parts(self) -> list[str]:
        """Return the partitions of the topic."""
        self.process.open()
        return sorted(map(str, self._partitions()))

    def _partitions(self) -> list[int]:
        settings = self.process.settings
        return sorted(FirstContact(settings, self.process.readiness).topics()[settings.flags_topic].partitions)

    def build_part(self, _step_id: str, for_part: str, resume_state: bytes | None) -> "FlagsPart":
        """Open a partition where its snapshot says, or at its beginning."""
        offset = int(resume_state) if resume_state else 0
        return FlagsPart(self.process, int(for_part), len(self._partitions()), offset)


class FlagsPart(StatefulSourcePartition[Flagged | FlagsRead, bytes]):
    """One partition.

    Args:
        process: For the settings.
        partition: Which one.
        of: How many there are.
        offset: Where to begin.
    """

    def __init__(self, process: Process, partition: int, of: int, offset: int) -> None:
        self._process = process
        self._read = FlagsRead(partition, of)
        config = {
            **process.settings.kafka(),
            "group.id": process.settings.kafka_group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # flags that are gone are of sessions that are long over
            "error_cb": process.on_kafka_error,
        }
        self._consumer = Consumer(config, logger=logger)
        topic, seconds = process.settings.flags_topic, process.settings.start_timeout_seconds
        low, self._until = offset_range(self._consumer, topic, partition, seconds)
        self._next_offset = max(low, offset)
        self._consumer.assign([TopicPartition(topic, partition, self._next_offset)])
        self._has_told = False

    def next_batch(self) -> Iterable[Flagged | FlagsRead]:
        """Return the flags that are there, and once that the old ones have been read; end when told to."""
        if self._process.ending.stopping:
            raise StopIteration
        flagged: list[Flagged | FlagsRead] = []
        for message in self._consumer.consume(_AT_ONCE, 0):
            error = message.error()
            if error is not None:
                raise_if_lost(error, self._process.settings.flags_topic)
                continue
            self._next_offset = (message.offset() or 0) + 1
            if (flag := _flagged(message.value())) is not None:
                flagged.append(flag)
        if not self._has_told and self._next_offset >= self._until:
            self._has_told = True
            flagged.append(self._read)
        return flagged

    def next_awake(self) -> datetime | None:
        """Look again in a moment."""
        return datetime.now(UTC) + _IDLE_WAIT

    def snapshot(self) -> bytes:
        """Return the position."""
        return str(self._next_offset).encode()

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()


def _flagged(value: bytes | None) -> Flagged | None:
    """Read a flag; what is none is counted."""
    try:
        flag = catalogue.read(catalogue.FLAG, value or b"")
    except Exception as error:  # noqa: BLE001 - whatever somebody wrote there
        metrics.FLAGS_UNREADABLE.inc()
        logger.warning("a record of the flags topic is no flag: %s", error)
        return None
    return Flagged(flag["session_id"], flag["user_id"], flag["event_timestamp"])
