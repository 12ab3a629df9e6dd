"""Real servers for the integration tests, as few as can be; skipped with a plain reason where they cannot run."""

from collections.abc import Iterator

import pytest

from infra.embedded import EmbeddedRedis
from infra.kafka_cluster import RealKafkaCluster
from infra.real_kafka import RealKafka
from infra.secure_kafka import SecureKafka


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """A real broker. A test may stop, kill and start it, and leaves it running."""
    if (reason := RealKafka.available()) is not None:
        pytest.skip(f"no real Kafka: {reason}")
    with RealKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafkaCluster]:
    """Three real brokers. A test may kill, pause and start them, and leaves all running and in sync."""
    if (reason := RealKafkaCluster.available()) is not None:
        pytest.skip(f"no real Kafka: {reason}")
    with RealKafkaCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A real broker with TLS, passwords and rights, where the users have none yet."""
    if (reason := SecureKafka.available()) is not None:
        pytest.skip(f"no real Kafka with TLS: {reason}")
    with SecureKafka(tmp_path_factory.mktemp("secure")) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def embedded_redis() -> Iterator[EmbeddedRedis]:
    """A Redis that no unit test uses. A test may kill and start it, and leaves it running."""
    with EmbeddedRedis() as redis:
        yield redis
