"""Where the demo looks: the flow's own port, the flags topic, Redis. It only reads, and never joins a group."""

import http.client
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from redis import Redis
from redis.exceptions import RedisError

from dataflows.demo.figures import Figures, Flag, PageTable, figures_from
from schemas import catalogue

_HTTP_OK = 200
_HTTP_SECONDS = 2.0
_POLL_MESSAGES = 500
_SHOWN_FLAGS = 50
_REMEMBERED_FLAGS = 100_000
_MINUTES = 3
_SCAN_SHARE = 20
"""A look for new pages waits this many times as long as the last one took: others use that Redis too."""
_SCAN_SECONDS = 2.0
_SCAN_KEYS = 1_000
_PAGE_PREFIX = "click_count:"


class ReaderError(RuntimeError):
    """Something that the demo looks at does not answer; the message is one line."""


class FlowPort:
    """The flow's port for health and metrics."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    @property
    def url(self) -> str:
        """Its address, for a person."""
        return f"http://{self._host}:{self._port}"

    def is_ready(self) -> bool:
        """Whether the flow has all it needs."""
        return self._get("/ready") is not None

    def figures(self) -> Figures | None:
        """Read the metrics; None while nobody answers."""
        text = self._get("/metrics")
        return None if text is None else figures_from(text)

    def _get(self, path: str) -> str | None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_HTTP_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if answer.status == _HTTP_OK else None


class FlagReader:
    """Reads the flags that come from now on, each once: a repeat is known by its flag_id.

    Args:
        kafka: The client's configuration.
        topic: The flags topic.
        timeout_seconds: How long Kafka may take to answer a question.

    Raises:
        ReaderError: If Kafka does not answer.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, timeout_seconds: float = 10.0) -> None:
        group = "clickstream-fraud-demo"  # librdkafka insists on one; nothing is committed to it
        self._consumer = Consumer({**kafka, "group.id": group, "enable.auto.commit": False, "log_level": 0})
        self._known: dict[str, None] = {}
        self.newest: deque[Flag] = deque(maxlen=_SHOWN_FLAGS)
        """The last flags, newest first."""
        self.count = 0
        """Flags so far."""
        self.received = 0
        """Records so far, repeats too."""
        try:
            self._consumer.assign(self._ends(topic, timeout_seconds))
        except KafkaException as error:
            self._consumer.close()
            msg = f"Kafka: cannot read {topic}: {error.args[0].str()}"
            raise ReaderError(msg) from None

    def _ends(self, topic: str, timeout_seconds: float) -> list[TopicPartition]:
        partitions = self._consumer.list_topics(topic, timeout=timeout_seconds).topics[topic].partitions
        parts = [TopicPartition(topic, partition) for partition in partitions]
        ends = [self._consumer.get_watermark_offsets(part, timeout=timeout_seconds)[1] for part in parts]
        return [TopicPartition(topic, part.partition, end) for part, end in zip(parts, ends, strict=True)]

    def poll(self, timeout_seconds: float = 0.0) -> list[Flag]:
        """Take what has come; wait so long for the first. Returns the new flags, oldest first."""
        messages = self._consumer.consume(_POLL_MESSAGES, timeout_seconds)
        return [flag for message in messages if (flag := self._read(message)) is not None]

    def _read(self, message: Message) -> Flag | None:
        if message.error() is not None:
            return None  # librdkafka goes on trying
        self.received += 1
        try:
            flag = Flag.from_record(catalogue.read(catalogue.FLAG, message.value() or b""))
        except Exception:  # noqa: BLE001 - whatever else is in a shared topic, it is not ours to show
            return None
        if flag.flag_id in self._known:
            return None
        self._known[flag.flag_id] = None
        if len(self._known) > _REMEMBERED_FLAGS:
            del self._known[next(iter(self._known))]
        self.count += 1
        self.newest.appendleft(flag)
        return flag

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()


class RedisReader:
    """Page counts and sessions in Redis.

    Args:
        url: Where it is.

    Raises:
        ReaderError: If that is no address.
    """

    def __init__(self, url: str) -> None:
        try:
            self._client = Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5)
        except ValueError:
            msg = "REDIS_URL must be redis://HOST:PORT/NUMBER or rediss://..., got something else"
            raise ReaderError(msg) from None
        self._pages: list[str] = []
        self._scan_after = 0.0
        self._table = PageTable()

    def check(self) -> None:
        """Raise `ReaderError` if Redis does not answer."""
        try:
            self._client.ping()
        except RedisError as error:
            msg = f"Redis does not answer: {error}"
            raise ReaderError(msg) from None

    def pages(self, newest_event_seconds: float) -> PageTable:
        """Read the newest minutes of all pages; while Redis does not answer, what was read last.

        Args:
            newest_event_seconds: Event time that the newest minute holds; 0 if there is none yet.
        """
        if newest_event_seconds:
            try:
                self._table = self._read_table(datetime.fromtimestamp(newest_event_seconds, UTC))
            except RedisError:
                self._scan_after = 0.0
        return self._table

    def _read_table(self, newest: datetime) -> PageTable:
        if time.monotonic() >= self._scan_after:
            self._scan()
        minutes = [newest.replace(second=0, microsecond=0) - timedelta(minutes=back) for back in range(_MINUTES)][::-1]
        fields = [minute.strftime("%Y-%m-%dT%H:%M:%S") for minute in minutes]
        pipeline = self._client.pipeline(transaction=False)
        for page in self._pages:
            pipeline.hmget(f"{_PAGE_PREFIX}{page}", fields)
        replies = pipeline.execute()
        counts = {
            page: tuple(int(count or 0) for count in reply) for page, reply in zip(self._pages, replies, strict=True)
        }
        return PageTable.busiest((minute.strftime("%H:%M") for minute in minutes), counts)

    def _scan(self) -> None:
        begun = time.monotonic()
        self._pages = sorted(key.removeprefix(_PAGE_PREFIX) for key in self._keys(f"{_PAGE_PREFIX}*"))
        now = time.monotonic()
        self._scan_after = now + max(_SCAN_SECONDS, _SCAN_SHARE * (now - begun))

    def _keys(self, pattern: str, kind: str = "hash") -> set[str]:
        return set(self._client.scan_iter(match=pattern, count=_SCAN_KEYS, _type=kind))

    def totals(self) -> dict[str, int]:
        """Count the pages with counts, the sessions, the devices with a risk, the inputs, and the users with a normal.

        Raises:
            ReaderError: If Redis does not answer.
        """
        try:
            return {
                "pages": len(self._keys(f"{_PAGE_PREFIX}*")),
                "sessions": len(self._keys("session:*")),
                "devices_at_risk": len(self._keys("risk:*:score", "string")),
                "inputs_known": len(self._keys("input:*:users", "string")),
                "users_known": len(self._keys("profile:*", "string")),
            }
        except RedisError as error:
            msg = f"Redis does not answer: {error}"
            raise ReaderError(msg) from None

    def close(self) -> None:
        """Leave Redis."""
        self._client.close()
