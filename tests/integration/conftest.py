"""Real servers for the integration tests, one of each a session; skipped with a plain reason where they cannot run."""

from collections.abc import Iterator

import pytest

from infra.embedded import EmbeddedRedis
from infra.real_kafka import RealKafka


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """A real broker. A test may stop, kill and start it, and leaves it running."""
    if (reason := RealKafka.available()) is not None:
        pytest.skip(f"no real Kafka: {reason}")
    with RealKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def embedded_redis() -> Iterator[EmbeddedRedis]:
    """A Redis that no unit test uses. A test may kill and start it, and leaves it running."""
    with EmbeddedRedis() as redis:
        yield redis
