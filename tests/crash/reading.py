"""Reading whole topics, for the oracle and the checker: every record of a partition, in offset order, and no more."""

from collections.abc import Iterator

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

_SECONDS = 20.0
_AT_ONCE = 10_000


class ReadingError(RuntimeError):
    """A topic could not be read to its end."""


def topic_partitions(bootstrap: str, topic: str) -> list[int]:
    """Return the numbers of a topic's partitions."""
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=_SECONDS).topics
    return sorted(topics[topic].partitions)


def ranges(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first offset and the end offset of every partition."""
    consumer = _consumer(bootstrap)
    try:
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_SECONDS)
            for partition in topic_partitions(bootstrap, topic)
        }
    finally:
        consumer.close()


def read_partition(bootstrap: str, topic: str, partition: int) -> Iterator[Message]:
    """Yield every record of a partition up to its present end.

    Raises:
        ReadingError: If its oldest records are gone, or it does not answer.
    """
    consumer = _consumer(bootstrap)
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_SECONDS)
        if low:
            msg = f"{topic}/{partition}: expected its first record at 0, the oldest is at {low}"
            raise ReadingError(msg)
        consumer.assign([TopicPartition(topic, partition, low)])
        at = int(low)
        while at < high:
            messages = consumer.consume(min(_AT_ONCE, high - at), _SECONDS)
            if not messages or (failed := next(filter(None, (m.error() for m in messages)), None)):
                msg = (
                    f"{topic}/{partition}: nothing more to read at {at} of {high}: {failed if messages else 'silence'}"
                )
                raise ReadingError(msg)
            for message in messages:
                at = (message.offset() or 0) + 1
                if at <= high:
                    yield message
    finally:
        consumer.close()


def read_topic(bootstrap: str, topic: str) -> Iterator[Message]:
    """Yield every record of a topic, partition by partition."""
    for partition in topic_partitions(bootstrap, topic):
        yield from read_partition(bootstrap, topic, partition)


def _consumer(bootstrap: str) -> Consumer:
    config = {"bootstrap.servers": bootstrap, "group.id": "crash-test", "enable.auto.commit": False, "log_level": 0}
    return Consumer({**config, "auto.offset.reset": "error"})
