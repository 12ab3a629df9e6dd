import socket
from collections.abc import Callable

import pytest

from infra import topics
from infra.embedded import EmbeddedKafka
from infra.topics import Topic, TopicsError, create_missing, load_topics


def test_the_file_lists_the_topics_of_the_contract_with_four_partitions() -> None:
    listed = {topic.name: topic.partitions for topic in load_topics()}

    assert listed == {"clickstream-events": 4, "fraud-flags": 4, "clickstream-dead-letters": 4, "account-status": 4}


def test_an_existing_topic_is_left_alone_and_a_differing_count_is_reported(
    embedded_kafka: EmbeddedKafka, new_topics: Callable[..., list[str]]
) -> None:
    same, other = new_topics("same", "other", partitions=3)

    lines = create_missing({"bootstrap.servers": embedded_kafka.bootstrap_servers}, [Topic(same, 3), Topic(other, 4)])

    assert lines == [
        f"{same}: exists, 3 partitions",
        f"{other}: exists with 3 partitions, expected 4; left as it is",
    ]


def test_a_broker_that_does_not_answer_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"

        status = topics.main(["--bootstrap", address, "--timeout", "0.5"])

    assert status == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Kafka at {address} did not answer in time: ")


def test_a_cluster_that_cannot_create_topics_says_so(embedded_kafka: EmbeddedKafka) -> None:
    client = {"bootstrap.servers": embedded_kafka.bootstrap_servers}

    with pytest.raises(TopicsError, match="cannot create topic never"):
        create_missing(client, [Topic("never", 4)], timeout_seconds=1)
