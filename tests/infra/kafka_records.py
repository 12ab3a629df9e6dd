"""Producing to and reading back from a topic, the shortest way that proves delivery."""

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, Producer, TopicPartition

_SECONDS = 30.0


def produce(bootstrap_servers: str, topic: str, values: Iterable[bytes]) -> None:
    """Send the values, keyed by themselves, and fail when one is not acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "enable.idempotence": True})
    errors = []
    for value in values:
        producer.produce(topic, value, key=value, on_delivery=lambda error, _: errors.append(error))
    left = producer.flush(_SECONDS)

    assert left == 0
    assert set(errors) == {None}


def read(
    bootstrap_servers: str, topic: str, count: int, partitions: int = 4, patience_seconds: float = _SECONDS
) -> list[bytes]:
    """Read a topic from its beginning until so many records came, or none came for so long, or the time is up."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    values: list[bytes] = []
    last = began = time.monotonic()
    while len(values) < count and time.monotonic() - began < _SECONDS:
        records = consumer.consume(count - len(values), timeout=0.5)
        values.extend(record.value() or b"" for record in records if not record.error())
        last = time.monotonic() if records else last
        if values and time.monotonic() - last > patience_seconds:
            break
    consumer.close()
    return values
