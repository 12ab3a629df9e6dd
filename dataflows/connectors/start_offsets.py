"""Where a partition is read from at a start: what its snapshot says, if Kafka still has it, or what the policy says."""

import json
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException

from dataflows.connectors.first_contact import with_right
from dataflows.connectors.kafka_offsets import committed, offset_range
from dataflows.ending import StartError
from dataflows.items import Configuration
from dataflows.settings import Settings
from observability import metrics


@dataclass(frozen=True, slots=True)
class Position:
    """What a part's snapshot holds."""

    offset: int
    """The next record to read."""
    consumed: int
    """Records read since the partition's beginning."""
    configuration: Configuration
    snapshots: int = 0
    """Snapshots of the partition that had a batch, since its beginning; 0.1.0 did not count them."""

    def to_bytes(self) -> bytes:
        """Write it as JSON."""
        configuration = self.configuration.as_json()
        value = {"offset": self.offset, "consumed": self.consumed, "snapshots": self.snapshots}
        return json.dumps(value | {"configuration": configuration}).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        value: dict[str, Any] = json.loads(stored)
        configuration = Configuration.from_json(value["configuration"])
        return cls(value["offset"], value["consumed"], configuration, value.get("snapshots", 0))


class StartOffsets:
    """Asks Kafka where partitions begin and end, and how far the group has come.

    Args:
        consumer: Of the group.
        settings: The topic, and the policy for partitions without state.
    """

    def __init__(self, consumer: Consumer, settings: Settings) -> None:
        self._consumer = consumer
        self._settings = settings
        self._topic = settings.events_topic

    def first(self, partition: int) -> int:
        """Return where to read a partition of which the recovery store knows nothing.

        Raises:
            StartError: If the group has read it, and no policy says what that means; or if Kafka does not answer.
        """
        policy = self._settings.start_from
        committed = self._committed(partition)
        if policy == "committed" and committed >= 0:
            return committed
        if policy == "beginning" or committed < 0:
            return int(self.ends(partition)[0])
        msg = (
            f"partition {partition}: group {self._settings.kafka_group} has read up to {committed}, but the "
            "recovery store has no state for it; START_FROM=beginning counts all again (exact), "
            "START_FROM=committed goes on without the sessions so far"
        )
        raise StartError(msg)

    def _committed(self, partition: int) -> int:
        """Return the offset that the group has published; negative if it has none."""
        try:
            at = committed(self._consumer, self._topic, partition, self._settings.start_timeout_seconds)
        except KafkaException as error:
            group = self._settings.kafka_group
            said = with_right(error.args[0], f"READ on group {group}")
            msg = f"group {group}: cannot ask for its offsets: {said}"
            raise StartError(msg) from None
        return int(at.offset)

    def check(self, partition: int, offset: int) -> None:
        """See that a partition can be read on from an offset.

        Raises:
            StartError: If Kafka has dropped records behind it, or has never had it; or if Kafka does not answer.
        """
        low, high = self.ends(partition)
        gap = max(low - offset, 0)
        metrics.OFFSET_GAP.inc(gap)
        if gap and not self._settings.accept_gap:
            msg = (
                f"partition {partition}: Kafka has dropped {gap} records that were not read "
                f"(next was {offset}, oldest is {low}); ACCEPT_GAP=1 goes on without them"
            )
            raise StartError(msg)
        if offset > high:
            msg = f"partition {partition}: next offset is {offset}, but the topic ends at {high}: another topic?"
            raise StartError(msg)

    def ends(self, partition: int) -> tuple[int, int]:
        """Return the oldest offset of a partition, and the one that its next record will get.

        Raises:
            StartError: If Kafka does not answer.
        """
        try:
            return offset_range(self._consumer, self._topic, partition, self._settings.start_timeout_seconds)
        except KafkaException as error:
            said = with_right(error.args[0], f"READ on topic {self._topic}")
            msg = f"partition {partition} of {self._topic}: cannot ask for its offsets: {said}"
            raise StartError(msg) from None
