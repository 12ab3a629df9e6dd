"""What the tests of the connectors share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflows.connectors.redis_writer import Link
from dataflows.service import Service
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from tests.dataflows.connectors.a_link import Client, Hanging, link_to, looking_at
from tests.dataflows.connectors.an_events_topic import Topic


@pytest.fixture
def store(empty_redis: EmbeddedRedis) -> Iterator[Client]:
    """A client that looks at an empty Redis."""
    with looking_at(empty_redis.url) as client:
        yield client


@pytest.fixture
def link(empty_redis: EmbeddedRedis) -> Iterator[Link]:
    """The writer's connection to the same Redis."""
    with link_to(empty_redis.url) as link:
        yield link


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """A server that accepts connections and never answers."""
    server = Hanging()
    yield server
    server.close()


@pytest.fixture
def topic(
    embedded_kafka: EmbeddedKafka,
    new_topics: Callable[..., list[str]],
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Topic:
    """A new topic of three partitions; what a process would do at its end is only noted."""
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(Service, "on_clean_end", lambda _, callback: ends.append(callback))
    [name] = new_topics("events", partitions=3)
    return Topic(embedded_kafka, name, model_dir, ends)
