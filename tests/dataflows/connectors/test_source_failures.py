"""The source when Kafka has dropped records, answers with errors, or is gone."""

from collections.abc import Iterator
from dataclasses import replace
from threading import Timer

import pytest
from confluent_kafka import KafkaError, TopicPartition

from dataflows.connectors.kafka_offsets import offset_range
from dataflows.connectors.source import SourceError
from dataflows.connectors.start_offsets import Position, StartOffsets
from dataflows.ending import StartError
from dataflows.service import Service
from infra.embedded import EmbeddedKafka
from tests.dataflows.connectors.an_events_topic import Topic, batches, offsets, parts_of, sample, values
from tests.dataflows.eventually import eventually

FETCH, OFFSET_COMMIT = 1, 8


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


def test_errors_that_pass_by_themselves_are_waited_out(topic: Topic) -> None:
    topic.produce(0, values(0, 3))
    passing = [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT, KafkaError.LEADER_NOT_AVAILABLE]

    topic.kafka.fail_requests(FETCH, passing)
    read = batches(parts_of(topic.service(), [None]), 3)

    assert offsets(read, 0) == [0, 1, 2]


def test_a_right_to_publish_offsets_that_is_gone_is_said_and_the_run_goes_on(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    topic.produce(0, values(0, 3))
    [part] = parts_of(topic.service(), [None])
    batches([part], 3)
    part.snapshot()
    part.snapshot()

    topic.kafka.fail_requests(OFFSET_COMMIT, [KafkaError.GROUP_AUTHORIZATION_FAILED])
    eventually(lambda: part.next_batch() or "offsets are not published" in caplog.text)
    topic.produce(0, values(3, 1))

    assert f"READ on group {topic.name} is not granted" in caplog.text
    assert offsets(batches([part], 1), 0) == [3]


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


def test_a_kafka_that_is_gone_when_a_partition_is_opened_is_one_clear_line(lonely_topic: Topic) -> None:
    service = lonely_topic.service(START_TIMEOUT="1")
    lonely_topic.kafka.broker_down()

    with pytest.raises(StartError, match="cannot ask for its offsets"):
        parts_of(service, [None])
    with pytest.raises(StartError, match=r"partition 0 of .*: cannot ask for its offsets"):
        parts_of(service, [at(service, 1)])


def test_a_kafka_that_is_gone_for_a_moment_when_a_partition_is_opened_is_waited_for(lonely_topic: Topic) -> None:
    lonely_topic.produce(0, values(0, 3))
    service = lonely_topic.service()
    consumer = lonely_topic.group()
    offset_range(consumer, lonely_topic.name, 0, 10)
    lonely_topic.kafka.broker_down()
    back = Timer(1.5, lonely_topic.kafka.broker_up)
    back.start()

    found = StartOffsets(consumer, service.settings).first(0)
    back.join()
    consumer.close()

    assert found == 0
