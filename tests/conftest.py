"""Servers that many tests share: started once a session and only when a test asks, on random loopback ports."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from features.session import FEATURES
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from model.artifacts import ArtifactShelf
from model.calibration import Calibration

TOLD_APART_BY = 24
"""So many of the features differ between the rows that test models learn from."""

NewTopics = Callable[..., list[str]]


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """One mock Kafka for the session; ask `new_topics` for topics nobody else uses."""
    with EmbeddedKafka({}) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One Redis for the session; a test that counts its keys asks for `empty_redis`."""
    with EmbeddedRedis() as redis:
        yield redis


@pytest.fixture
def empty_redis(redis_server: EmbeddedRedis) -> EmbeddedRedis:
    """The session's Redis, without a key."""
    import redis  # noqa: PLC0415 - most tests need no client

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def new_topics(embedded_kafka: EmbeddedKafka) -> NewTopics:
    """Give `new_topics("events", "flags", partitions=4)`: fresh topics on the embedded Kafka, their full names."""
    numbers = itertools.count()
    session = uuid.uuid4().hex[:8]

    def create(*names: str, partitions: int = 4) -> list[str]:
        number = next(numbers)
        topics = [f"{name}-{session}-{number}" for name in names]
        for topic in topics:
            embedded_kafka.create_topic(topic, partitions)
        return topics

    return create


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose current model scores by the number of failed logins and of events."""
    dice = np.random.default_rng(5)
    matrix = np.zeros((4_000, len(FEATURES)))
    matrix[:, :TOLD_APART_BY] = dice.integers(0, 12, size=(4_000, TOLD_APART_BY))
    failures, events = (matrix[:, FEATURES.index(name)] for name in ("session_login_failures", "session_events"))
    model = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0)
    model.fit(matrix, failures + events / 4 > 3 + dice.normal(size=4_000))
    shelf = ArtifactShelf(tmp_path_factory.mktemp("models"))
    calibration = Calibration(raw=(-6.0, -1.0, 1.0, 2.5, 6.0), score=(0.01, 0.3, 0.7, 0.9, 0.99))
    shelf.set_current(shelf.save(model, calibration, {}, {}))
    return shelf.directory


@pytest.fixture(scope="session")
def model_id(model_dir: Path) -> str:
    """The id of the current model in `model_dir`."""
    return ArtifactShelf(model_dir).current()
