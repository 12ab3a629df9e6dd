"""What a consumer group has committed for a partition; asked until a fresh Kafka has a coordinator for the group."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

_ASK_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 0.2
_PASSING = frozenset(
    {
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""What a group's coordinator says while there is none yet: Kafka makes it when it is first asked for one."""


def committed(consumer: Consumer, topic: str, partition: int, seconds: float) -> TopicPartition:
    """Return what the consumer's group has committed: a negative offset if nothing.

    Args:
        consumer: Of the group.
        topic: The topic.
        partition: The partition.
        seconds: How long a coordinator may take to be there.

    Raises:
        KafkaException: If Kafka refuses, does not answer, or has no coordinator by then.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return consumer.committed([TopicPartition(topic, partition)], timeout=_ASK_SECONDS)[0]
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > until:
                raise
            time.sleep(_ASK_AGAIN_SECONDS)
