import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from dataflows.connectors.lane import Lane
from dataflows.ending import StartError
from dataflows.service import Service
from dataflows.settings import Settings
from infra.embedded import EmbeddedKafka
from infra.server_process import free_port
from observability.health import Readiness
from tests.dataflows.running_flow import settings_for

NewTopics = Callable[..., list[str]]


def rights_of(settings: Settings) -> dict[str, str]:
    return Service(settings).rights()


def lane_of(kafka: EmbeddedKafka, topics: list[str], **env: str) -> Lane:
    names = dict(zip(("EVENTS_TOPIC", "FLAGS_TOPIC", "DEAD_LETTERS_TOPIC"), topics, strict=True))
    settings = settings_for(Path(), KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap_servers, **names, **env)
    return Lane(settings, rights_of(settings), Readiness())


def test_one_lane_has_all_partitions(embedded_kafka: EmbeddedKafka, new_topics: NewTopics) -> None:
    lane = lane_of(embedded_kafka, new_topics("events", "flags", "letters", partitions=5))

    assert lane.partitions() == [0, 1, 2, 3, 4]
    assert lane.keys() == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("lanes", [2, 3, 5])
def test_lanes_share_the_partitions_each_one_to_one_lane(
    lanes: int, embedded_kafka: EmbeddedKafka, new_topics: NewTopics
) -> None:
    topics = new_topics("events", "flags", "letters", partitions=5)

    shares = [lane_of(embedded_kafka, topics, LANE=str(lane), LANES=str(lanes)).partitions() for lane in range(lanes)]

    assert sorted(p for share in shares for p in share) == [0, 1, 2, 3, 4]
    assert all(p % lanes == lane for lane, share in enumerate(shares) for p in share)


def test_a_lane_without_a_partition_is_refused(embedded_kafka: EmbeddedKafka, new_topics: NewTopics) -> None:
    topics = new_topics("events", "flags", "letters", partitions=2)

    with pytest.raises(StartError, match=rf"LANE=2: topic {topics[0]} has only 2 partitions"):
        lane_of(embedded_kafka, topics, LANE="2", LANES="3").partitions()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_topic_is_named_with_what_to_do(
    missing: int, embedded_kafka: EmbeddedKafka, new_topics: NewTopics
) -> None:
    topics = new_topics("events", "flags", "letters")
    topics[missing] = "no/such/topic"  # the mock creates whatever has a legal name

    with pytest.raises(StartError, match=r"has no topic no/such/topic: create it"):
        lane_of(embedded_kafka, topics).partitions()


def test_a_partition_finds_its_part_where_the_engine_counts_it(
    embedded_kafka: EmbeddedKafka, new_topics: NewTopics
) -> None:
    lane = lane_of(embedded_kafka, new_topics("events", "flags", "letters", partitions=12))

    keys = lane.keys()
    assert [sorted(keys)[lane.part_of(key)] for key in keys] == keys


def test_partitions_with_records_are_known_for_the_whole_topic_not_only_for_the_lane(
    embedded_kafka: EmbeddedKafka, new_topics: NewTopics
) -> None:
    topics = new_topics("events", "flags", "letters", partitions=4)
    producer = Producer({"bootstrap.servers": embedded_kafka.bootstrap_servers})
    for partition in (1, 2):
        producer.produce(topics[0], b"event", partition=partition)
    assert producer.flush(10) == 0
    lane = lane_of(embedded_kafka, topics, LANE="0", LANES="2")

    assert lane.with_records() == {1, 2}
    assert lane.partitions() == [0, 2]
    assert lane.topic_partitions == 4


def test_a_kafka_that_does_not_answer_is_one_clear_line_within_the_start_timeout() -> None:
    readiness = Readiness()
    settings = settings_for(Path(), KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}", START_TIMEOUT="1")
    began = time.monotonic()

    with pytest.raises(StartError, match=r"^Kafka at 127\.0\.0\.1:\d+ has not answered within 1 s: "):
        Lane(settings, rights_of(settings), readiness).partitions()

    assert 0.9 < time.monotonic() - began < 2.5
    assert readiness.reasons["kafka"].startswith("no answer: ")


def test_a_ca_file_that_is_not_there_is_one_clear_line_at_once(tmp_path: Path) -> None:
    tls = {"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_SSL_CA_LOCATION": str(tmp_path / "nothing.pem")}

    with pytest.raises(StartError, match=r"^the settings for Kafka cannot be used: .*ssl\.ca\.location"):
        Lane(settings_for(Path(), **tls), rights_of(settings_for(Path(), **tls)), Readiness()).partitions()
