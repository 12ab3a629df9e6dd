"""The service on a Kafka with TLS, passwords and rights.

It needs what infra/kafka/acls.json says: with that it works, and without any of it, it says what is missing.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra.embedded import EmbeddedRedis
from infra.secure_kafka import Acl, SecureKafka, load_acls
from infra.tls import make_certificates
from schemas import catalogue
from tests.builders import a_session, framed
from tests.service import PARTITIONS, RunningService, Setting

TOPICS = ["clickstream-events", "fraud-flags", "clickstream-dead-letters"]
RIGHTS = load_acls("service")
REFUSED_SECONDS = 200
"""For seven processes that start together; 20 are usual on two cores of which nobody else wants a part."""

pytestmark = pytest.mark.timeout(REFUSED_SECONDS + 100)


@pytest.fixture(scope="module")
def kafka(secure_kafka: SecureKafka) -> SecureKafka:
    """The broker with our topics and the rights of the file."""
    secure_kafka.create_topics(dict.fromkeys([*TOPICS, "account-status"], PARTITIONS))
    secure_kafka.grant("fraud", RIGHTS)
    secure_kafka.grant("clicks", load_acls("producer"))
    return secure_kafka


def setting_of(user: str, kafka: SecureKafka, redis: EmbeddedRedis, model_dir: Path, folder: Path) -> Setting:
    """Return the setting of a service that connects as a user."""
    folder.mkdir(exist_ok=True)
    password = folder / "password"
    password.write_text(kafka.passwords[user] + "\n")
    env = {
        "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "KAFKA_SASL_USERNAME": user,
        "KAFKA_SASL_PASSWORD_FILE": str(password),
        "KAFKA_SSL_CA_LOCATION": str(kafka.ca),
        "KAFKA_GROUP": "clickstream-fraud",
        "START_FROM": "beginning",
    }
    return Setting(kafka, redis.url, TOPICS, model_dir, folder, client=kafka.client("admin"), env=env)


@pytest.fixture
def setting(kafka: SecureKafka, empty_redis: EmbeddedRedis, model_dir: Path, tmp_path: Path) -> Setting:
    return setting_of("fraud", kafka, empty_redis, model_dir, tmp_path)


@pytest.fixture(scope="module")
def said(
    kafka: SecureKafka, redis_server: EmbeddedRedis, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What services say that cannot run, by what is wrong with each; started together, because each takes a while."""
    folder = tmp_path_factory.mktemp("refused")
    wrong_password = folder / "wrong"
    wrong_password.write_text("not the password")
    users = {name_of(right): f"fraud-without-{number}" for number, right in enumerate(RIGHTS)}
    for right in RIGHTS:
        kafka.set_password(users[name_of(right)], "a password")
        kafka.grant(users[name_of(right)], [other for other in RIGHTS if other != right])
    wrong = {
        "password": {"KAFKA_SASL_PASSWORD_FILE": str(wrong_password)},
        "ca": {"KAFKA_SSL_CA_LOCATION": str(make_certificates(folder / "other", "broker").ca)},
        "protocol": {"KAFKA_SECURITY_PROTOCOL": "plaintext", "START_TIMEOUT": "2"},
    }
    lines = {}
    with ExitStack() as stack:
        services = {}
        for number, what in enumerate([*users, *wrong]):
            setting = setting_of(users.get(what, "fraud"), kafka, redis_server, model_dir, folder / str(number))
            services[what] = stack.enter_context(setting.running(**wrong.get(what, {}), OMP_NUM_THREADS="1"))
        for what, service in services.items():
            assert service.process.wait(timeout=REFUSED_SECONDS) == 1, what
            lines[what] = service.log.read_text().splitlines()[-1]
    return lines


def name_of(right: Acl) -> str:
    return f"{right.operation} on {right.resource} {right.name}"


def produce(kafka: SecureKafka, records: list[tuple[str, bytes]]) -> None:
    """Write events as the producer's user does."""
    producer = Producer({**kafka.client("clicks"), "partitioner": "murmur2_random"})
    refused: list[object] = []
    for key, value in records:
        producer.produce(TOPICS[0], value, key.encode(), on_delivery=lambda error, _: refused.append(error))

    assert producer.flush(10) == 0
    assert set(refused) == {None}


def an_attack(name: str) -> list[tuple[str, bytes]]:
    return [(name, framed(record)) for record in a_session(["login_failed"] * 12, session_id=name)]


@contextmanager
def without(kafka: SecureKafka, right: Acl) -> Iterator[None]:
    kafka.revoke("fraud", [right])
    try:
        yield
    finally:
        kafka.grant("fraud", [right])


def test_the_service_works_with_the_rights_of_the_file_and_no_others(setting: Setting, kafka: SecureKafka) -> None:
    records = [*an_attack("attack"), ("nobody", b"no event")]
    produce(kafka, records)

    with setting.running() as service:
        service.wait_for_all(len(records))
        # Published by the running service, and by the drained one at its end.
        service.wait_for(lambda: sum(max(offset, 0) for offset in setting.committed()) > 0)
        exit_code = service.stop(signal.SIGTERM)

    flagged = {catalogue.read(catalogue.FLAG, m.value() or b"")["session_id"] for m in setting.read(TOPICS[1])}
    letters = [catalogue.read(catalogue.DEAD_LETTER, m.value() or b"")["value"] for m in setting.read(TOPICS[2])]
    assert exit_code == 0
    assert flagged == {"attack"}
    assert letters == [b"no event"]
    assert sum(max(offset, 0) for offset in setting.committed()) == len(records)
    assert "not published" not in setting.log.read_text()


def test_the_risk_flow_works_with_its_own_rights_and_without_one_it_names_it(
    kafka: SecureKafka, empty_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    rights = load_acls("risk")
    lacking = next(right for right in rights if right.name == "account-status")
    for user, granted in (("risk", rights), ("risk-without", [right for right in rights if right != lacking])):
        kafka.set_password(user, f"the password of {user}")
        kafka.grant(user, granted)
    produce(kafka, an_attack("attack-of-another"))
    settings = [setting_of(user, kafka, empty_redis, tmp_path, tmp_path / user) for user in ("risk", "risk-without")]
    risk, refused = (RunningService(each.env, each.store, each.log, "risk") for each in settings)
    try:
        risk.wait_for(lambda: settings[0].redis.get("user:u-1:login_failures") is not None)
        assert risk.stop(signal.SIGTERM) == 0
        assert refused.process.wait(timeout=REFUSED_SECONDS) == 1
    finally:
        for service in (risk, refused):
            service.process.kill()
            service.process.wait()
    assert name_of(lacking) in settings[1].log.read_text().splitlines()[-1]


@pytest.mark.parametrize("right", [name_of(right) for right in RIGHTS])
def test_without_a_right_it_ends_at_the_start_and_says_which_one(right: str, said: dict[str, str]) -> None:
    assert said[right].startswith("fraud: Kafka does not grant fraud-without-")
    assert said[right].endswith(f" what the service needs: {right}; infra/kafka/README.md lists what must be granted")


def test_a_wrong_password_is_one_line_that_names_the_settings(said: dict[str, str]) -> None:
    assert "SASL authentication error" in said["password"]
    assert said["password"].endswith("see KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
    assert "not the password" not in said["password"]


def test_a_certificate_of_another_ca_is_one_line_that_names_the_setting(said: dict[str, str]) -> None:
    assert "certificate verify failed" in said["ca"]
    assert said["ca"].endswith("see KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION")


def test_a_client_that_speaks_plaintext_is_one_line_that_names_the_setting(
    said: dict[str, str], kafka: SecureKafka
) -> None:
    assert said["protocol"].startswith(f"fraud: Kafka at {kafka.bootstrap_servers} has not answered within 2 s: ")
    assert said["protocol"].endswith("does it speak KAFKA_SECURITY_PROTOCOL=plaintext")


@pytest.mark.parametrize(
    ("topic", "what_failed"),
    [(TOPICS[0], "cannot read from Kafka: "), (TOPICS[1], "topic fraud-flags: a message ")],
)
def test_a_right_that_is_taken_from_a_running_service_ends_it_and_is_named(
    topic: str, what_failed: str, setting: Setting, kafka: SecureKafka
) -> None:
    [taken] = [right for right in RIGHTS if right.name == topic]
    produce(kafka, an_attack(f"attack with {taken.operation}"))
    with setting.running() as service:
        service.wait_for(lambda: service.records("scored") > 0)
        with without(kafka, taken):
            produce(kafka, an_attack(f"attack without {taken.operation}"))
            exit_code = service.process.wait(timeout=30)

    last_line = setting.log.read_text().splitlines()[-1]
    assert exit_code == 1
    assert last_line.startswith(f"fraud: {what_failed}")
    assert f"{name_of(taken)} is not granted (any more)" in last_line
