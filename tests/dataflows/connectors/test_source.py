from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from dataflows.connectors.source import EventsPart, EventsSource, Position, SourceError
from dataflows.ending import StartError
from dataflows.items import RawBatch
from dataflows.service import Service
from infra.embedded import EmbeddedKafka
from infra.server_process import free_port
from model.artifacts import ArtifactError
from model.decision import Level
from observability import metrics
from schemas.catalogue import local_writers
from tests.builders import an_event, framed
from tests.dataflows.connectors.a_registry import Registry
from tests.dataflows.eventually import eventually
from tests.dataflows.running_flow import settings_for

FETCH = 1
NEW_SCHEMA = b"\x00\x00\x00\x00\x07"


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


@pytest.fixture
def topic(
    embedded_kafka: EmbeddedKafka,
    new_topics: Callable[..., list[str]],
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Topic:
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(Service, "on_clean_end", lambda _, callback: ends.append(callback))
    [name] = new_topics("events", partitions=3)
    return Topic(embedded_kafka, name, model_dir, ends)


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


def test_every_record_of_every_partition_comes_once_and_in_order(topic: Topic) -> None:
    written = {partition: values(100 * partition, 40 + partition) for partition in range(3)}
    for partition, some in written.items():
        topic.produce(partition, some)
    topic.produce(2, [None])

    read = batches(parts_of(topic.service(), [None] * 3), 124)

    for partition, some in written.items():
        mine = [batch for batch in read if batch.partition == partition]
        expected = [*some, None] if partition == 2 else some
        numbers = [str(number).encode() for number in range(len(some))]
        assert offsets(mine, partition) == list(range(len(expected)))
        assert [value for batch in mine for value in batch.values] == expected
        assert [key for batch in mine for key in batch.keys][: len(some)] == numbers
        assert [header for batch in mine for header in batch.headers][1] == [("number", b"1")]
        assert all(ms > 1_700_000_000_000 for batch in mine for ms in batch.kafka_ms.tolist())
        assert mine[-1].unread == 0


def test_a_snapshot_is_where_the_next_run_goes_on(topic: Topic) -> None:
    topic.produce(0, values(0, 10))
    [first] = parts_of(topic.service(), [None])
    batches([first], 10)

    stored = first.snapshot()
    topic.produce(0, values(10, 5))
    [second] = parts_of(topic.service(), [stored])
    read = batches([second], 5)

    assert offsets(read, 0) == [10, 11, 12, 13, 14]
    position = Position.from_bytes(second.snapshot())
    assert (position.offset, position.consumed) == (15, 15)


def test_what_was_polled_and_not_handed_on_is_not_in_the_snapshot(topic: Topic) -> None:
    topic.produce(1, values(0, 4))
    parts = parts_of(topic.service(), [None, None])
    eventually(lambda: [*parts[0].next_batch()] or parts[1].has_pending)

    stored = Position.from_bytes(parts[1].snapshot())
    read = batches(parts, 4)

    assert (stored.offset, stored.consumed) == (0, 0)
    assert offsets(read, 1) == [0, 1, 2, 3]


def test_an_empty_store_reads_from_the_beginning_if_the_group_has_read_nothing(topic: Topic) -> None:
    topic.produce(0, values(0, 3))

    read = batches(parts_of(topic.service(), [None]), 3)

    assert offsets(read, 0) == [0, 1, 2]


def test_an_empty_store_of_a_group_that_has_read_is_refused_and_the_way_out_is_named(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    topic.commit(0, 2)

    with pytest.raises(StartError, match=r"partition 0: group .* has read up to 2, .*START_FROM=beginning"):
        parts_of(topic.service(), [None])


@pytest.mark.parametrize(("policy", "first"), [("beginning", 0), ("committed", 2)])
def test_the_start_policy_decides_where_an_empty_store_begins(policy: str, first: int, topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    topic.commit(0, 2)

    read = batches(parts_of(topic.service(START_FROM=policy), [None]), 3 - first)

    assert offsets(read, 0) == list(range(first, 3))


def test_a_start_policy_that_was_left_set_does_not_touch_what_the_store_knows(topic: Topic) -> None:
    topic.produce(0, values(0, 5))
    [part] = parts_of(topic.service(), [None])
    batches([part], 5)
    topic.produce(0, values(5, 1))

    read = batches(parts_of(topic.service(START_FROM="beginning"), [part.snapshot()]), 1)

    assert offsets(read, 0) == [5]


def at(service: Service, offset: int) -> bytes:
    return Position(offset, offset, service.deployed()).to_bytes()


def overflow(topic: Topic) -> int:
    """Write more than the mock broker keeps; return the oldest offset that it still has."""
    for _ in range(8):
        topic.produce(0, [bytes(900_000)])
    consumer = topic.group()
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic.name, 0), timeout=10)
    consumer.close()
    assert low > 1
    return low


def test_records_that_kafka_dropped_unread_stop_the_start_unless_it_is_told_to_go_on(topic: Topic) -> None:
    low = overflow(topic)
    before = sample("fraud_offset_gap_records_total")

    with pytest.raises(StartError, match=rf"partition 0: Kafka has dropped {low - 1} records that were not read"):
        parts_of(service := topic.service(), [at(service, 1)])
    told = topic.service(ACCEPT_GAP="1")
    read = batches(parts_of(told, [at(told, 1)]), 8 - low)

    assert offsets(read, 0) == list(range(low, 8))
    assert sample("fraud_offset_gap_records_total") - before == 2 * (low - 1)


def test_records_that_kafka_dropped_after_the_start_stop_the_run(topic: Topic) -> None:
    topic.commit(0, 0)
    overflow(topic)
    [part] = parts_of(topic.service(START_FROM="committed"), [None])

    with pytest.raises(SourceError, match="records were dropped by Kafka before they were read"):
        eventually(part.next_batch)


def test_a_position_behind_the_end_of_the_topic_is_refused(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    service = topic.service()

    with pytest.raises(StartError, match=r"next offset is 4, but the topic ends at 3: another topic\?"):
        parts_of(service, [at(service, 4)])


def test_a_position_at_the_end_of_the_topic_is_good(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    service = topic.service()
    [part] = parts_of(service, [at(service, 3)])
    topic.produce(0, values(3, 1))

    assert offsets(batches([part], 1), 0) == [3]


def test_a_partition_waits_for_its_schema_while_the_others_go_on(topic: Topic) -> None:
    registry = Registry(free_port(), {"/schemas/ids/7": (200, b"{}")})
    service = topic.service(SCHEMA_REGISTRY_URL=registry.url())
    service.writers.known.update(local_writers())
    good = values(0, 3)
    topic.produce(0, [good[0], NEW_SCHEMA + good[1][5:], good[2]])
    topic.produce(1, good)
    parts = parts_of(service, [None, None])

    read = batches(parts, 4)
    topic.produce(1, good)
    read += batches(parts, 3)
    eventually(lambda: parts[0].next_batch() or "registry" in service.readiness.reasons)
    held = Position.from_bytes(parts[0].snapshot())
    wakes_at = parts[0].next_awake() or datetime.min.replace(tzinfo=UTC)

    assert (offsets(read, 0), offsets(read, 1)) == ([0], [0, 1, 2, 3, 4, 5])
    assert (held.offset, held.consumed) == (1, 1)
    assert not service.readiness.is_ready
    assert sample("fraud_partition_held", partition="0") == 1
    assert wakes_at > datetime.now(UTC) + timedelta(milliseconds=20)
    service.writers.known[7] = local_writers()[1]
    topic.produce(0, good[:1])
    assert offsets(batches(parts, 3), 0) == [1, 2, 3]
    assert sample("fraud_partition_held", partition="0") == 0


def test_what_is_no_frame_waits_for_no_schema(topic: Topic) -> None:
    service = topic.service(SCHEMA_REGISTRY_URL=f"http://127.0.0.1:{free_port()}")
    awkward = [b'{"event": "click"}', b"", b"\x00\x00", b"\x01\x00\x00\x00\x07x", None]
    topic.produce(0, awkward)

    read = batches(parts_of(service, [None]), 5)

    assert [value for batch in read for value in batch.values] == [b'{"event": "click"}', *awkward[1:]]
    assert service.writers._asked == {}


def test_every_part_ends_when_the_service_is_to_stop(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    service = topic.service()
    parts = parts_of(service, [None] * 3)
    batches(parts, 3)

    service.ending.stopping = True

    for part in parts:
        with pytest.raises(StopIteration):
            part.next_batch()


def test_only_what_the_snapshot_before_holds_is_published_to_the_group(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    service = topic.service()
    [part] = parts_of(service, [None])
    batches([part], 3)
    part.snapshot()
    topic.produce(0, values(3, 2))
    batches([part], 2)
    published = topic.committed(0)

    part.snapshot()
    eventually(lambda: part.next_batch() or topic.committed(0) >= 0)

    assert published < 0
    assert topic.committed(0) == 3


def test_after_a_clean_end_the_final_offsets_are_published(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    [part] = parts_of(topic.service(), [None])
    batches([part], 3)
    part.snapshot()

    [at_end] = topic.ends
    at_end()

    assert topic.committed(0) == 3


def test_without_a_recovery_store_nothing_is_published(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    batches(parts_of(topic.service(), [None]), 3)

    [at_end] = topic.ends
    at_end()

    assert topic.committed(0) < 0


def test_a_new_configuration_takes_over_at_a_snapshot_and_not_before(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.produce(0, values(0, 1))
    service = topic.service()
    [part] = parts_of(service, [None])
    old = service.deployed()
    new = replace(old, levels=(Level("review", 0.5),))
    monkeypatch.setattr(service, "deployed", lambda: new)

    [before] = batches([part], 1)
    stored = part.snapshot()
    topic.produce(0, values(1, 1))
    [after] = batches([part], 1)

    assert (before.configuration, after.configuration) == (old, new)
    assert Position.from_bytes(stored).configuration == new
    [resumed] = batches(parts_of(topic.service(), [stored]), 1)
    assert resumed.configuration == new


def test_a_stored_configuration_whose_model_is_missing_is_refused(topic: Topic) -> None:
    service = topic.service()
    gone = replace(service.deployed(), model_id="0123456789abcdef")

    with pytest.raises(ArtifactError, match="0123456789abcdef"):
        parts_of(service, [Position(0, 0, gone).to_bytes()])


def test_errors_that_pass_by_themselves_are_waited_out(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    passing = [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT, KafkaError.LEADER_NOT_AVAILABLE]

    topic.kafka.fail_requests(FETCH, passing)
    read = batches(parts_of(topic.service(), [None]), 3)

    assert offsets(read, 0) == [0, 1, 2]


@pytest.fixture
def lonely_topic(topic: Topic) -> Iterator[Topic]:
    """A topic on a Kafka of its own, which may go down."""
    with EmbeddedKafka({topic.name: 3}) as kafka:
        yield replace(topic, kafka=kafka)


def test_an_outage_of_kafka_is_said_and_waited_out_and_nothing_is_lost(lonely_topic: Topic) -> None:
    lonely_topic.produce(0, values(0, 3))
    service = lonely_topic.service()
    [part] = parts_of(service, [None])
    batches([part], 3)

    lonely_topic.kafka.broker_down()
    eventually(lambda: part.next_batch() or service.readiness.reasons.get("kafka"))
    lonely_topic.kafka.broker_up()
    eventually(lambda: part.next_batch() or service.readiness.is_ready)
    lonely_topic.produce(0, values(3, 2))
    read = batches([part], 2)

    assert offsets(read, 0) == [3, 4]


def test_a_kafka_that_is_gone_when_a_partition_is_opened_is_one_clear_line(
    lonely_topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.connectors.source._ASK_SECONDS", 0.3)
    service = lonely_topic.service(START_TIMEOUT="1")
    lonely_topic.kafka.broker_down()

    with pytest.raises(StartError, match="cannot ask for its offsets"):
        parts_of(service, [None])
    with pytest.raises(StartError, match=r"partition 0 of .*: cannot ask for its offsets"):
        parts_of(service, [at(service, 1)])
