"""The broker under a running service stops and is killed, and comes back with its data: nothing is lost."""

import signal
from pathlib import Path

import pytest

from infra.embedded import EmbeddedRedis
from infra.real_kafka import RealKafka
from infra.server_process import is_listening
from model.artifacts import ArtifactShelf
from model.scorer import Scorer
from schemas import catalogue
from tests.service import PARTITIONS, Expected, RunningService, Setting, counts_in, stream, vectors_in

TOPICS = ["restart-events", "restart-flags", "restart-letters"]


@pytest.fixture
def setting(real_kafka: RealKafka, empty_redis: EmbeddedRedis, model_dir: Path, tmp_path: Path) -> Setting:
    real_kafka.create_topics(dict.fromkeys(TOPICS, PARTITIONS))
    return Setting(real_kafka, empty_redis.url, TOPICS, model_dir, tmp_path)


def notices(service: RunningService) -> None:
    """Wait until the service says that it is without Kafka."""
    service.wait_for(lambda: not service.ready()["ready"])


def test_a_broker_that_stops_and_one_that_is_killed_under_the_service_lose_nothing(
    real_kafka: RealKafka, setting: Setting, model_dir: Path, model_id: str
) -> None:
    records = stream()[:3_000]
    port = int(real_kafka.bootstrap_servers.rpartition(":")[2])
    with setting.running() as service:
        setting.produce(records[:1_000])
        service.wait_for(lambda: service.records("scored") > 300)
        real_kafka.stop()
        stopped = not is_listening(port)
        notices(service)
        real_kafka.start()

        setting.produce(records[1_000:2_000])
        service.wait_for(lambda: service.records("scored") > 1_300)
        real_kafka.kill()
        killed = not is_listening(port)
        notices(service)
        real_kafka.start()

        setting.produce(records[2_000:])
        service.wait_for_all(len(records))
        outcomes = {name: service.records(name) for name in ("scored", "dead", "late", "duplicate")}
        exit_code = service.stop(signal.SIGTERM)

    expected = Expected(setting, Scorer(ArtifactShelf(model_dir).load(model_id)))
    flags = [catalogue.read(catalogue.FLAG, message.value() or b"") for message in setting.read(setting.flags)]
    letters = [catalogue.read(catalogue.DEAD_LETTER, m.value() or b"") for m in setting.read(setting.dead_letters)]
    assert (stopped, killed, exit_code) == (True, True, 0)
    assert outcomes == dict(expected.outcomes)
    assert len(expected.flags) > 50
    assert sorted((flag["flag_id"], flag["offset"]) for flag in flags) == sorted(expected.flags)
    assert len(letters) == expected.outcomes["dead"] + expected.outcomes["late"]
    assert counts_in(setting.redis) == dict(expected.counts)
    assert vectors_in(setting.redis) == expected.vectors
    assert sum(setting.committed()) == len(records)
