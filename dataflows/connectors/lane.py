"""Which partitions are ours, and whether Kafka has what we need: asked once, at the start."""

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer

from dataflows.connectors.first_contact import FirstContact
from dataflows.connectors.start_offsets import StartOffsets
from dataflows.ending import StartError
from dataflows.settings import Settings
from observability.health import Readiness

logger = logging.getLogger("fraud.kafka")


class Lane:
    """The partitions of the events topic that this process works on: those with p % LANES = LANE.

    Args:
        settings: Where Kafka is, the topics, the lane.
        rights: What the process needs: `READ` or `WRITE`, by topic.
        readiness: Told why we wait.
    """

    def __init__(self, settings: Settings, rights: Mapping[str, str], readiness: Readiness) -> None:
        self._settings = settings
        self._rights = rights
        self._topics: dict[str, list[int]] = {}
        self._readiness = readiness
        self._every: list[int] = []
        self._partitions: list[int] | None = None
        self._with_records: frozenset[int] | None = None

    def partitions(self) -> list[int]:
        """Return the partitions, in rising order; the first call waits for Kafka.

        Raises:
            StartError: If Kafka does not answer in time or refuses us, or a topic or a right is missing.
        """
        if self._partitions is None:
            topics = FirstContact(self._settings, self._rights, self._readiness).topics()
            for name in self._rights:
                if name not in topics or topics[name].error is not None:
                    msg = f"Kafka at {self._settings.kafka_bootstrap_servers} has no topic {name}: {_HOW_TO_CREATE}"
                    raise StartError(msg)
            self._topics = {name: sorted(topics[name].partitions) for name in self._rights}
            every = self._topics[self._settings.events_topic]
            ours = [p for p in every if p % self._settings.lanes == self._settings.lane]
            if not ours:
                msg = (
                    f"LANE={self._settings.lane}: topic {self._settings.events_topic} has only {len(every)} partitions"
                )
                raise StartError(msg)
            self._every, self._partitions = every, ours
            self._readiness.report("kafka")
        return self._partitions

    def partitions_of(self, topic: str) -> list[int]:
        """Return the partitions of another topic that the process needs, in rising order."""
        self.partitions()
        return self._topics[topic]

    def keys(self) -> list[str]:
        """Return the partitions as the engine's keys."""
        return [str(partition) for partition in self.partitions()]

    @property
    def topic_partitions(self) -> int:
        """How many partitions the topic has, other lanes' too."""
        self.partitions()
        return len(self._every)

    def part_of(self, key: str) -> int:
        """Return a partition's place among ours: the engine counts parts in the order of their names."""
        return sorted(self.keys()).index(key)

    def with_records(self) -> frozenset[int]:
        """Return the partitions of the topic, other lanes' too, that have records at the start.

        Raises:
            StartError: If Kafka does not say.
        """
        if self._with_records is None:
            self.partitions()
            consumer = Consumer({**self._settings.kafka(), "group.id": self._settings.kafka_group}, logger=logger)
            try:
                ends = StartOffsets(consumer, self._settings).ends
                ranges = {p: ends(p) for p in self._every}
            finally:
                consumer.close()
            self._with_records = frozenset(p for p, (low, high) in ranges.items() if high > low)
        return self._with_records


_HOW_TO_CREATE = "create it, for example with python -m infra.topics"
