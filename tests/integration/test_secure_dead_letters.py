"""Dead letters on a Kafka with TLS, passwords and rights.

`python -m dataflows.dead_letters` works with the rights that infra/kafka/README.md lists for the role repair, and
without any of them says in one line what it was refused.
"""

import json
from typing import cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from dataflows.connectors.page_counts import WATERMARKS_KEY
from dataflows.items import Headers
from dataflows.letters import REPLAY_HEADER
from infra.embedded import EmbeddedRedis
from infra.secure_kafka import ACLS_FILE, Acl, SecureKafka
from schemas import catalogue
from tests.builders import A_MINUTE_MS, an_event, framed
from tests.dataflows.a_letter_box import LetterBox, a_letter, client_of
from tests.service import counts_in

EVENTS, LETTERS = "clickstream-events", "clickstream-dead-letters"
PARTITIONS = 2
README = ACLS_FILE.with_name("README.md").read_text()
GOOD = framed(an_event(event_id="good"))
LATE = framed(an_event(event_id="late"))
COMMANDS = {
    "list": ["list"],
    "show": ["show", "0:0"],
    "replay": ["replay", "--dry-run"],
    "backfill": ["replay", "--backfill", "--dry-run"],
}


def documented_rights() -> list[Acl]:
    """Return the rights in the table of the README."""
    rows = [row.split(" | ") for row in README.splitlines() if row.startswith("| repair |")]
    return [Acl("repair", on.split()[0], on.split("`")[1], "literal", right) for _, right, on, _ in rows]


def name_of(right: Acl) -> str:
    return f"{right.operation} on {right.resource} {right.name}"


RIGHTS = documented_rights()
USERS = {name_of(right): f"repair-without-{number}" for number, right in enumerate(RIGHTS)}


@pytest.fixture(scope="module")
def kafka(secure_kafka: SecureKafka) -> SecureKafka:
    """The broker with one letter to replay and one too late, a user with all rights, and one without each."""
    secure_kafka.create_topics({EVENTS: PARTITIONS, LETTERS: PARTITIONS})
    secure_kafka.set_password("repair", "a password")
    secure_kafka.grant("repair", RIGHTS)
    for right in RIGHTS:
        secure_kafka.set_password(USERS[name_of(right)], "a password")
        secure_kafka.grant(USERS[name_of(right)], [other for other in RIGHTS if other != right])
    producer = Producer(secure_kafka.client("admin"))
    for letter in (a_letter(GOOD, topic=EVENTS), a_letter(LATE, "too_late", topic=EVENTS, stage="admit")):
        value = catalogue.frame(catalogue.DEAD_LETTER.id, catalogue.DEAD_LETTER, letter)
        producer.produce(LETTERS, value, b"s-1", partition=0)
        assert producer.flush(10) == 0
    return secure_kafka


@pytest.fixture
def box(
    kafka: SecureKafka,
    empty_redis: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> LetterBox:
    """The command, as the user with all rights, and a Redis whose watermarks make nothing late."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "KAFKA_SASL_USERNAME": "repair",
        "KAFKA_SASL_PASSWORD": "a password",
        "KAFKA_SSL_CA_LOCATION": str(kafka.ca),
        "REDIS_URL": empty_redis.url,
        "START_TIMEOUT": "10",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    redis = client_of(empty_redis.url)
    redis.hset(WATERMARKS_KEY, mapping={str(partition): f"{A_MINUTE_MS}:idle" for partition in range(PARTITIONS)})
    # Nothing but the command is used of it here: how it writes and reads itself is for a Kafka without passwords.
    return LetterBox(kafka, redis, EVENTS, LETTERS, capsys)  # type: ignore[arg-type]


def test_every_command_works_with_the_rights_of_the_file_and_no_others(box: LetterBox, kafka: SecureKafka) -> None:
    code, listed, error = box.run("list")
    shown = json.loads(box.run("show", "0:0")[1])
    backfilled = box.totals("replay", "--backfill")
    replayed = box.totals("replay")
    again = box.totals("replay")

    assert (code, error) == (0, "")
    assert "2  in all" in listed
    assert shown["event"]["event_id"] == "good"
    assert backfilled == {"counted": 1}
    assert sum(counts_in(box.redis).values()) == 1
    assert (replayed, again) == ({"replayed": 1, "too_late": 1}, {})
    assert _sent_back(kafka) == [(GOOD, [b"0:0"])]


def _sent_back(kafka: SecureKafka) -> list[tuple[bytes, list[bytes | None]]]:
    """Return the values in the events topic, and what their replay headers say."""
    consumer = Consumer({**kafka.client("admin"), "group.id": "reader"})
    records = []
    for partition in range(PARTITIONS):
        place = TopicPartition(EVENTS, partition, 0)
        _, high = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        for message in consumer.consume(high, 10) if high else []:
            headers = cast("Headers", message.headers() or [])
            records.append((message.value() or b"", [value for name, value in headers if name == REPLAY_HEADER]))
    consumer.close()
    return records


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("right", RIGHTS, ids=name_of)
def test_without_a_right_a_command_that_needs_it_ends_with_one_line_that_names_what_it_is_on(
    right: Acl, command: str, box: LetterBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SASL_USERNAME", USERS[name_of(right)])

    code, out, error = box.run(*COMMANDS[command])

    if right.operation == "WRITE" and command != "replay":
        assert (code, error) == (0, "")
        return

    assert (code, out) == (1, "")
    assert error.startswith("dead_letters: Kafka at ")
    assert error.count("\n") == 1
    assert (right.name if right.resource == "topic" or command == "replay" else "Group authorization failed") in error
