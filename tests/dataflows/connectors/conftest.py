"""What the tests of the connectors share."""

from collections.abc import Iterator

import pytest

from dataflows.connectors.redis_writer import Link
from infra.embedded import EmbeddedRedis
from tests.dataflows.connectors.a_link import Client, Hanging, link_to, looking_at


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
