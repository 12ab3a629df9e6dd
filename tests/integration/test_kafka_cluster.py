"""Three brokers, some killed or hanging: what is acknowledged is there once, and nothing is acknowledged falsely."""

from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer

from dataflows.connectors.kafka_offsets import committed, offset_range
from infra.kafka_cluster import BROKERS, RealKafkaCluster
from tests.dataflows.eventually import eventually
from tests.infra.kafka_records import read

PARTITIONS = 3


class Load:
    """A producer as the service's is, and what the brokers have said to it."""

    def __init__(self, cluster: RealKafkaCluster, topic: str) -> None:
        self.acknowledged: list[bytes] = []
        self.refused: list[KafkaError] = []
        self._topic = topic
        self._sent = 0
        address = {"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0}
        self._producer = Producer({**address, "acks": "all", "enable.idempotence": True, "linger.ms": 0})

    def send(self, count: int) -> None:
        """Hand over more records, each with a number of its own, to the partitions in turn."""
        for number in range(self._sent, self._sent + count):
            value = str(number).encode()
            self._producer.produce(self._topic, value, partition=number % PARTITIONS, on_delivery=self._on_delivery)
        self._sent += count

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged.append(message.value() or b"")
        else:
            self.refused.append(error)

    def send_until(self, is_over: Callable[[], bool]) -> None:
        """Send in small portions until something is so."""

        def sent_and_over() -> bool:
            self.send(10)
            self._producer.poll(0.01)
            return is_over()

        eventually(sent_and_over, seconds=40)

    def left(self, seconds: float) -> int:
        """Wait for what is under way, and return how much still is."""
        return self._producer.flush(seconds)


@pytest.fixture
def topic(kafka_cluster: RealKafkaCluster, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    kafka_cluster.create_topics({name: PARTITIONS})
    return name


def once_each(cluster: RealKafkaCluster, topic: str, values: list[bytes]) -> bool:
    """Say whether a topic holds exactly these values, each once."""
    # One more than there are, so that a repeat at the end is read too; its absence costs the reader's patience once.
    found = read(cluster.bootstrap_servers, topic, len(values) + 1, PARTITIONS, patience_seconds=1)
    return Counter(found) == dict.fromkeys(values, 1)


def test_acknowledged_records_are_there_once_after_their_leader_was_killed(
    kafka_cluster: RealKafkaCluster, topic: str
) -> None:
    load = Load(kafka_cluster, topic)
    load.send_until(lambda: len(load.acknowledged) > 500)
    killed = kafka_cluster.leader(topic, 0)

    kafka_cluster.kill(killed)
    before = len(load.acknowledged)
    load.send_until(lambda: kafka_cluster.leader(topic, 0) not in {killed, -1})
    load.send_until(lambda: len(load.acknowledged) > before + 500)
    left = load.left(30)
    was_gone = not kafka_cluster.is_running(killed)
    kafka_cluster.start(killed)

    assert was_gone
    assert (left, load.refused) == (0, [])
    assert once_each(kafka_cluster, topic, load.acknowledged)


def test_with_one_of_three_brokers_writes_stall_and_nothing_is_acknowledged_falsely(
    kafka_cluster: RealKafkaCluster, topic: str
) -> None:
    load = Load(kafka_cluster, topic)
    load.send_until(lambda: len(load.acknowledged) > 100)
    assert load.left(10) == 0
    survivor = kafka_cluster.leader(topic, 0)
    killed, paused = (number for number in BROKERS if number != survivor)

    kafka_cluster.kill(killed)
    kafka_cluster.pause(paused)
    before = len(load.acknowledged)
    load.send(300)
    left = load.left(4)
    acknowledged_meanwhile = len(load.acknowledged) - before
    kafka_cluster.resume(paused)
    kafka_cluster.start(killed)
    left_at_last = load.left(30)

    assert (left, acknowledged_meanwhile) == (300, 0)
    assert (left_at_last, load.refused) == (0, [])
    assert len(load.acknowledged) == before + 300
    assert once_each(kafka_cluster, topic, load.acknowledged)


def test_a_consumer_that_knows_a_leader_which_has_just_been_killed_gets_its_offsets_from_the_next(
    kafka_cluster: RealKafkaCluster, topic: str
) -> None:
    consumer = Consumer({"bootstrap.servers": kafka_cluster.bootstrap_servers, "group.id": topic, "log_level": 0})
    before = [offset_range(consumer, topic, partition, 30) for partition in range(PARTITIONS)]
    never = committed(consumer, topic, 0, 30)
    killed = kafka_cluster.leader(topic, 0)

    kafka_cluster.kill(killed)
    after = [offset_range(consumer, topic, partition, 60) for partition in range(PARTITIONS)]
    still_never = committed(consumer, topic, 0, 60)
    kafka_cluster.start(killed)
    consumer.close()

    assert after == before == [(0, 0)] * PARTITIONS
    assert never.offset == still_never.offset < 0
