import base64
import json
import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from dataflows.connectors.registry import Writers
from infra.server_process import LOOPBACK, free_port
from observability import metrics
from observability.health import Readiness
from schemas.catalogue import EVENT, FLAG
from tests.dataflows.connectors.a_registry import KNOWN, Registry, Reply
from tests.dataflows.eventually import eventually


@pytest.fixture
def registry() -> Registry:
    return Registry(free_port(), {"/schemas/ids/7": KNOWN})


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time as the writers see it: `now.at` moves it."""
    clock = SimpleNamespace(at=1_000.0)
    monkeypatch.setattr("dataflows.connectors.registry.time", SimpleNamespace(monotonic=lambda: clock.at))
    return clock


def answer_of(writers: Writers, schema_id: int) -> Callable[[], str]:
    """Ask again until the answer is more than `waiting`."""
    return lambda: answer if (answer := writers.find(schema_id)) != "waiting" else ""


def requests(outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("fraud_registry_requests_total", {"outcome": outcome}) or 0.0


def test_without_a_registry_our_own_ids_are_known_and_all_others_absent() -> None:
    writers = Writers("", Readiness())

    assert [writers.find(schema_id) for schema_id in (EVENT.id, FLAG.id, 99)] == ["known", "known", "absent"]
    assert writers.known[EVENT.id].columnar


def test_a_schema_is_asked_for_once_and_waited_for_meanwhile(registry: Registry) -> None:
    readiness = Readiness()
    writers = Writers(registry.url(), readiness)
    before = requests("found")

    with registry.up():
        first = writers.find(7)
        answer = eventually(answer_of(writers, 7))

    assert (first, answer) == ("waiting", "known")
    assert {writers.find(7) for _ in range(100)} == {"known"}
    assert registry.asked == ["/schemas/ids/7"]
    assert writers.known[7].columnar
    assert readiness.is_ready
    assert requests("found") - before == 1


def test_our_own_ids_mean_nothing_where_there_is_a_registry(registry: Registry) -> None:
    writers = Writers(registry.url(), Readiness())

    with registry.up():
        assert eventually(answer_of(writers, EVENT.id)) == "absent"


def test_a_flood_of_one_bad_id_is_one_question_in_30_seconds(registry: Registry, now: SimpleNamespace) -> None:
    writers = Writers(registry.url(), Readiness())

    with registry.up():
        assert eventually(answer_of(writers, 404)) == "absent"
        now.at += 29.9
        assert {writers.find(404) for _ in range(1_000)} == {"absent"}
        assert registry.asked == ["/schemas/ids/404"]
        now.at += 0.2
        assert writers.find(404) == "waiting"
        assert eventually(answer_of(writers, 404)) == "absent"

    assert registry.asked == ["/schemas/ids/404"] * 2


def test_a_schema_that_was_absent_is_known_once_it_is_registered(registry: Registry, now: SimpleNamespace) -> None:
    writers = Writers(registry.url(), Readiness())

    with registry.up():
        eventually(answer_of(writers, 8))
        registry.replies["/schemas/ids/8"] = KNOWN
        now.at += 31

        assert eventually(answer_of(writers, 8)) == "known"


def test_a_registry_that_is_down_is_waited_for_and_said(registry: Registry, now: SimpleNamespace) -> None:
    readiness = Readiness()
    writers = Writers(registry.url(), readiness)
    before = requests("failed")

    writers.find(7)
    eventually(lambda: writers.find(7) == "waiting" and readiness.reasons)
    reason = readiness.reasons["registry"]
    with registry.up():
        now.at += 1.1
        answer = eventually(answer_of(writers, 7))

    assert "refused" in reason
    assert answer == "known"
    assert readiness.is_ready
    assert requests("failed") - before == 1


def test_a_registry_that_is_down_is_asked_once_a_second_and_not_by_every_record(
    registry: Registry, now: SimpleNamespace
) -> None:
    writers = Writers(registry.url(), Readiness())
    before = requests("failed")
    writers.find(7)
    eventually(lambda: writers.find(7) == "waiting" and requests("failed") > before)

    now.at += 0.9
    answers = {writers.find(7) for _ in range(1_000)}

    assert answers == {"waiting"}
    assert writers._asked == {}
    assert requests("failed") - before == 1


@pytest.mark.parametrize(
    "reply",
    [
        (200, b"<html>welcome</html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"schema": 5}'),
        (200, b'{"schema": "{"}'),
        (200, b"\xff\xfe"),
        (500, b"out of order"),
        (503, b""),
    ],
)
def test_an_answer_that_is_none_is_taken_for_an_outage_and_never_for_an_absent_schema(
    reply: Reply, registry: Registry, now: SimpleNamespace
) -> None:
    readiness = Readiness()
    writers = Writers(registry.url(), readiness)
    registry.replies["/schemas/ids/7"] = reply

    with registry.up():
        writers.find(7)
        eventually(lambda: writers.find(7) == "waiting" and readiness.reasons)
        registry.replies["/schemas/ids/7"] = KNOWN
        now.at += 1.1

        assert not readiness.is_ready
        assert eventually(answer_of(writers, 7)) == "known"


def test_what_is_no_http_is_taken_for_an_outage(now: SimpleNamespace) -> None:
    readiness = Readiness()
    with socket.create_server((LOOPBACK, 0)) as listener:
        writers = Writers(f"http://{LOOPBACK}:{listener.getsockname()[1]}", readiness)
        assert writers.find(7) == "waiting"
        connection, _ = listener.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(b"hello\r\n")

        eventually(lambda: writers.find(7) == "waiting" and readiness.reasons)

    assert now.at == 1_000
    assert "BadStatusLine" in readiness.reasons["registry"]


def test_a_schema_of_another_kind_is_known_and_cannot_be_read(registry: Registry) -> None:
    writers = Writers(registry.url(), Readiness())
    protobuf = {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3";'}
    registry.replies["/schemas/ids/9"] = 200, json.dumps(protobuf).encode()

    with registry.up():
        assert eventually(answer_of(writers, 9)) == "known"

    assert writers.known[9].shortcoming == "expected an Avro schema, the registry has one of type PROTOBUF"


def test_credentials_go_into_the_header_and_nowhere_else(
    registry: Registry, now: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    readiness = Readiness()
    writers = Writers(registry.url("reader:open%40sesame@"), readiness)

    writers.find(7)
    eventually(lambda: writers.find(7) == "waiting" and readiness.reasons)
    said = caplog.text + str(readiness)
    with registry.up():
        now.at += 1.1
        answer = eventually(answer_of(writers, 7))

    assert answer == "known"
    assert registry.authorization == ["Basic " + base64.b64encode(b"reader:open@sesame").decode()]
    assert "does not answer" in said
    assert "sesame" not in said
    assert "reader" not in said


def test_a_404_that_is_no_registrys_own_is_not_believed(registry: Registry) -> None:
    writers = Writers(f"{registry.url()}/wrong/path", Readiness())
    registry.replies["/wrong/path/schemas/ids/5"] = 404, b"<html>Not found</html>"

    with registry.up():
        assert writers.find(5) == "waiting"
        eventually(lambda: registry.asked == ["/wrong/path/schemas/ids/5"])
        eventually(lambda: "404" in writers_reason(writers))


def writers_reason(writers: Writers) -> str:
    """Ask again, so that the answer is taken, and return what readiness says."""
    writers.find(5)
    return writers._readiness.reasons.get("registry", "")
