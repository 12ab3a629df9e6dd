import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from dataflows.connectors.kafka_sink import MAX_MESSAGE_BYTES, Deliveries, DeliveryError, KafkaPart, KafkaSink, Outgoing
from dataflows.service import Service
from infra.embedded import EmbeddedKafka
from tests.dataflows.running_flow import settings_for
from tests.infra.kafka_records import read

PRODUCE = 0
TOPIC = "flags"

STUCK = """
import sys, types
from dataflows.connectors.kafka_sink import Deliveries, Outgoing
from dataflows.ending import Ending
from dataflows.settings import Settings
ending = Ending(stop_timeout_seconds=0.3)
ending.take_over()
settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": sys.argv[1]})
deliveries = Deliveries(types.SimpleNamespace(settings=settings, on_kafka_error=lambda error: None))
deliveries.send("flags", Outgoing(b"key", b"value", [], lambda: None))
print("sent", flush=True)
deliveries.flush()
"""


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    """A Kafka of these tests' own, which may go down and up again."""
    with EmbeddedKafka({TOPIC: 2}) as kafka:
        yield kafka


def service_on(kafka: EmbeddedKafka, delivery_seconds: int) -> Service:
    """Return a process that gives up on a message after so long."""
    address = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    topics = dict.fromkeys(("EVENTS_TOPIC", "FLAGS_TOPIC", "DEAD_LETTERS_TOPIC"), TOPIC)
    return Service(settings_for(Path(), DELIVERY_TIMEOUT=str(delivery_seconds), **address, **topics))


@pytest.fixture
def service(kafka: EmbeddedKafka) -> Iterator[Service]:
    """A patient process; whatever a test injected is taken back."""
    yield service_on(kafka, 30)
    kafka.broker_up()
    kafka.set_latency(0)
    kafka.fail_requests(PRODUCE, [])


def message(value: bytes = b"value", on_delivered: Callable[[], None] = lambda: None) -> Outgoing:
    return Outgoing(b"key", value, [], on_delivered)


def test_everything_a_part_was_given_is_in_the_topic_when_its_snapshot_returns(
    embedded_kafka: EmbeddedKafka, new_topics: Callable[..., list[str]]
) -> None:
    [topic] = new_topics("flags", partitions=2)
    deliveries = Deliveries(service_on(embedded_kafka, 30))
    delivered: list[bytes] = []
    part = KafkaPart(
        deliveries, topic, lambda values: (message(value, partial(delivered.append, value)) for value in values)
    )

    part.write_batch([[b"1", b"2"], [], [b"3"]])
    part.snapshot()

    assert sorted(delivered) == [b"1", b"2", b"3"]
    assert sorted(read(embedded_kafka.bootstrap_servers, topic, 3, partitions=2)) == [b"1", b"2", b"3"]


def test_a_flush_waits_for_a_slow_broker(kafka: EmbeddedKafka, service: Service) -> None:
    deliveries = Deliveries(service)
    deliveries.send(TOPIC, message())
    deliveries.flush()
    delivered: list[bool] = []
    kafka.set_latency(200)

    deliveries.send(TOPIC, message(on_delivered=lambda: delivered.append(True)))
    before = list(delivered)
    deliveries.flush()

    assert (before, delivered) == ([], [True])


def test_a_refused_message_stops_the_flow_and_is_not_counted(kafka: EmbeddedKafka, service: Service) -> None:
    deliveries = Deliveries(service)
    delivered: list[bool] = []
    kafka.fail_requests(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])

    deliveries.send(TOPIC, message(on_delivered=lambda: delivered.append(True)))
    with pytest.raises(
        DeliveryError, match=rf"topic {TOPIC}: a message was not delivered: .*authorization failed: WRITE"
    ):
        deliveries.flush()

    assert delivered == []


def test_once_a_message_was_lost_no_later_snapshot_succeeds(kafka: EmbeddedKafka, service: Service) -> None:
    part = KafkaPart(Deliveries(service), TOPIC, lambda value: [message(value)])
    kafka.fail_requests(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    part.write_batch([b"lost"])
    with pytest.raises(DeliveryError):
        part.snapshot()

    with pytest.raises(DeliveryError):
        part.write_batch([b"later"])
    with pytest.raises(DeliveryError):
        part.snapshot()


def test_an_error_that_passes_by_itself_loses_nothing(kafka: EmbeddedKafka, service: Service) -> None:
    deliveries = Deliveries(service)
    delivered: list[bool] = []
    kafka.fail_requests(PRODUCE, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT])

    deliveries.send(TOPIC, message(on_delivered=lambda: delivered.append(True)))
    deliveries.flush()

    assert delivered == [True]


def test_an_outage_shorter_than_the_delivery_timeout_loses_nothing(kafka: EmbeddedKafka, service: Service) -> None:
    deliveries = Deliveries(service)
    deliveries.send(TOPIC, message())
    deliveries.flush()
    delivered: list[bool] = []

    kafka.broker_down()
    deliveries.send(TOPIC, message(on_delivered=lambda: delivered.append(True)))
    deliveries.serve()
    kafka.broker_up()
    deliveries.flush()

    assert delivered == [True]


@pytest.mark.usefixtures("service")
def test_an_outage_longer_than_the_delivery_timeout_is_raised(kafka: EmbeddedKafka) -> None:
    deliveries = Deliveries(service_on(kafka, 1))
    kafka.broker_down()
    deliveries.send(TOPIC, message())
    began = time.monotonic()

    with pytest.raises(DeliveryError, match=r"not delivered.*timed out"):
        deliveries.flush()

    assert time.monotonic() - began < 3


def test_a_message_that_kafka_would_not_take_is_refused_at_once_without_its_content(service: Service) -> None:
    with pytest.raises(DeliveryError) as refusal:
        Deliveries(service).send(TOPIC, message(b"secret" * MAX_MESSAGE_BYTES))

    assert str(refusal.value) == (
        f"topic {TOPIC}: a message of {6 * MAX_MESSAGE_BYTES} bytes is refused: "
        "Unable to produce message: Broker: Message size too large"
    )


@pytest.mark.usefixtures("service")
def test_a_full_queue_is_waited_for_until_a_message_is_given_up(kafka: EmbeddedKafka) -> None:
    deliveries = Deliveries(service_on(kafka, 1))
    kafka.broker_down()

    def send_more_than_there_is_room_for() -> None:
        for _ in range(100_001):
            deliveries.send(TOPIC, message(b""))

    with pytest.raises(DeliveryError, match=r"no room for messages within 1 s|not delivered"):
        send_more_than_there_is_room_for()


def test_there_is_one_part_a_partition_and_each_key_goes_to_its_own(service: Service) -> None:
    sink = KafkaSink(service, lambda: Deliveries(service), TOPIC, lambda _: [])

    parts = sink.list_parts()

    assert parts == ["0", "1"]
    assert [sorted(parts)[sink.part_fn(key)] for key in parts] == parts


def test_a_process_that_waits_for_a_delivery_leaves_when_its_time_is_up(kafka: EmbeddedKafka, service: Service) -> None:
    kafka.broker_down()
    command = [sys.executable, "-c", STUCK, service.settings.kafka_bootstrap_servers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        began = time.monotonic()

        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert time.monotonic() - began < 5
    assert b"not drained within 0.3 s" in errors
