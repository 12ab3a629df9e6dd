"""What Kafka says of a partition's offsets: where it begins and ends, and what a consumer group has committed.

Asked again while an answer may still come: a fresh Kafka makes a group's coordinator when it is first asked for one,
and a broker that has just died leads its partitions, for every client, until the others have elected new leaders.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

_ROUND_SECONDS = 5.0
"""How long one round may take: librdkafka waits for the leader it knows of, and hears of another by being asked."""
_REST_SECONDS = 0.2
_PASSING = frozenset(
    {
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - so librdkafka's own codes are named
        KafkaError._DESTROY_BROKER,  # noqa: SLF001 - the broker that was asked is gone from the metadata
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    }
)
"""What is said while a leader or a coordinator is missing."""

Answer = TypeVar("Answer")


def committed(consumer: Consumer, topic: str, partition: int, seconds: float) -> TopicPartition:
    """Return what the consumer's group has committed: a negative offset if nothing.

    Args:
        consumer: Of the group.
        topic: The topic.
        partition: The partition.
        seconds: How long to ask again while there is no coordinator.

    Raises:
        KafkaException: If Kafka refuses, or has not answered by then.
    """
    place = TopicPartition(topic, partition)
    return _ask(lambda round_: consumer.committed([place], timeout=round_)[0], consumer, topic, seconds)


def offset_range(consumer: Consumer, topic: str, partition: int, seconds: float) -> tuple[int, int]:
    """Return the oldest offset of a partition, and the one that its next record will get.

    Args:
        consumer: Any.
        topic: The topic.
        partition: The partition.
        seconds: How long to ask again while there is no leader.

    Raises:
        KafkaException: If Kafka refuses, or has not answered by then.
    """
    place = TopicPartition(topic, partition)
    low, high = _ask(lambda round_: consumer.get_watermark_offsets(place, timeout=round_), consumer, topic, seconds)
    return int(low), int(high)


def _ask(question: Callable[[float], Answer], consumer: Consumer, topic: str, seconds: float) -> Answer:
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        try:
            return question(max(min(_ROUND_SECONDS, left), _REST_SECONDS))
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or left <= _ROUND_SECONDS:
                raise
        _hear_of_new_leaders(consumer, topic)
        time.sleep(_REST_SECONDS)


def _hear_of_new_leaders(consumer: Consumer, topic: str) -> None:
    """Make any broker that lives say who leads the topic now."""
    try:
        consumer.list_topics(topic, timeout=_ROUND_SECONDS)
    except KafkaException:
        return  # the next round says what there is to say
