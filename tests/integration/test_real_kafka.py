from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from infra import topics
from infra.real_kafka import RealKafka
from infra.server_process import is_listening
from tests.infra.kafka_records import produce, read


def _partitions(kafka: RealKafka) -> dict[str, int]:
    found = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def test_acknowledged_records_survive_kill_9(real_kafka: RealKafka) -> None:
    sent = [f"event {number}".encode() for number in range(1000)]
    real_kafka.create_topics({"survivors": 4})
    produce(real_kafka.bootstrap_servers, "survivors", sent)

    real_kafka.kill()
    gone = not is_listening(int(real_kafka.bootstrap_servers.rpartition(":")[2]))
    real_kafka.start()

    assert gone
    assert sorted(read(real_kafka.bootstrap_servers, "survivors", 1000)) == sorted(sent)


def test_the_topics_command_creates_what_is_missing_once(
    real_kafka: RealKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--bootstrap", real_kafka.bootstrap_servers]

    first = topics.main(arguments), capsys.readouterr().out
    second = topics.main(arguments), capsys.readouterr().out

    names = ("clickstream-events", "fraud-flags", "clickstream-dead-letters", "account-status")
    assert first == (0, "".join(f"{name}: created, 4 partitions, replication 1\n" for name in names))
    assert second == (0, "".join(f"{name}: exists, 4 partitions\n" for name in names))
    assert _partitions(real_kafka).items() >= dict.fromkeys(names, 4).items()


def test_the_settings_of_a_topic_are_those_of_the_file(real_kafka: RealKafka) -> None:
    topics.create_missing({"bootstrap.servers": real_kafka.bootstrap_servers}, topics.load_topics())
    admin = AdminClient({"bootstrap.servers": real_kafka.bootstrap_servers})
    wanted = {topic.name: topic.config for topic in topics.load_topics()}

    resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    found = {resource.name: answer.result(10) for resource, answer in admin.describe_configs(resources).items()}

    for name, config in wanted.items():
        assert {setting: found[name][setting].value for setting in config} == config


def test_a_topic_nobody_created_does_not_appear(real_kafka: RealKafka) -> None:
    admin = AdminClient({"bootstrap.servers": real_kafka.bootstrap_servers})

    admin.list_topics("never-created", timeout=10)

    assert "never-created" not in _partitions(real_kafka)


def test_its_log_is_a_quiet_file_in_its_folder(real_kafka: RealKafka) -> None:
    log = (real_kafka.directory / "kafka.log").read_text()

    assert " INFO " not in log
    assert " ERROR " not in log
    assert len(log) < 20_000
    assert Path(real_kafka.directory / "data").is_dir()
