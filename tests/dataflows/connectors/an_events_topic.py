"""A topic of events for the tests of the source, and its parts driven as the engine drives them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from dataflows.connectors.source import EventsPart, EventsSource
from dataflows.items import RawBatch
from dataflows.service import Service
from infra.embedded import EmbeddedKafka
from observability import metrics
from tests.builders import an_event, framed
from tests.dataflows.eventually import eventually
from tests.dataflows.running_flow import settings_for


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of events on a Kafka, and the way to read it as the service does."""

    kafka: EmbeddedKafka
    name: str
    model_dir: Path
    ends: list[Callable[[], None]]
    """What the process would do at a clean end."""

    def produce(self, partition: int, values: Iterable[bytes | None]) -> None:
        """Append records to a partition; each has its number as key and as header."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "linger.ms": 0})
        for number, value in enumerate(values):
            key = str(number).encode()
            producer.produce(self.name, value, key, partition=partition, headers=[("number", key)])
        assert producer.flush(10) == 0

    def service(self, **env: str) -> Service:
        """Return a process that reads this topic."""
        addresses = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers, "EVENTS_TOPIC": self.name}
        names = {"KAFKA_GROUP": self.name, "FLAGS_TOPIC": self.name, "DEAD_LETTERS_TOPIC": self.name}
        return Service(settings_for(self.model_dir, **addresses, **names, **env))

    def group(self) -> Consumer:
        """Return a client that looks at the group's offsets."""
        return Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": self.name})

    def commit(self, partition: int, offset: int) -> None:
        """Publish an offset of the group."""
        consumer = self.group()
        consumer.commit(offsets=[TopicPartition(self.name, partition, offset)], asynchronous=False)
        consumer.close()

    def committed(self, partition: int) -> int:
        """Return the offset that the group has published; negative if none."""
        consumer = self.group()
        at = consumer.committed([TopicPartition(self.name, partition)], timeout=10)[0].offset
        consumer.close()
        return at


def parts_of(service: Service, snapshots: Sequence[bytes | None]) -> list[EventsPart]:
    """Open the first partitions, each at its snapshot."""
    source = EventsSource(service)
    return [source.build_part("events_in", str(p), snapshot) for p, snapshot in enumerate(snapshots)]


def batches(parts: Sequence[EventsPart], count: int) -> list[RawBatch]:
    """Let the parts take turns, as the engine does, until they have given so many records."""
    read: list[RawBatch] = []

    def enough() -> bool:
        for part in parts:
            read.extend(batch for _, batch in part.next_batch())
        return sum(len(batch.values) for batch in read) >= count

    eventually(enough)
    assert sum(len(batch.values) for batch in read) == count
    return read


def offsets(read: Iterable[RawBatch], partition: int) -> list[int]:
    return [offset for batch in read if batch.partition == partition for offset in batch.offsets.tolist()]


def values(first: int, count: int) -> list[bytes]:
    return [framed(an_event(event_id=f"e-{number}")) for number in range(first, first + count)]


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0
