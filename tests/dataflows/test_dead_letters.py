"""Dead letters on the embedded Kafka and Redis: looked at, sent back once, or counted in their minutes once."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from dataflows.connectors.page_counts import PAGES_KEY, WATERMARKS_KEY
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.server_process import free_port
from tests.builders import A_MINUTE_MS, an_event, framed
from tests.dataflows.a_letter_box import HOUR_MS, PARTITIONS, WRITTEN_MS, LetterBox, a_letter, client_of
from tests.service import counts_in

GOOD = framed(an_event())
MINUTE = "2025-06-10T05:04:00"


@pytest.fixture
def box(
    embedded_kafka: EmbeddedKafka,
    empty_redis: EmbeddedRedis,
    new_topics: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> LetterBox:
    """An empty one, with a watermark that makes nothing late."""
    events, letters = new_topics("events", "letters", partitions=PARTITIONS)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": embedded_kafka.bootstrap_servers,
        "KAFKA_GROUP": f"group-{events}",
        "EVENTS_TOPIC": events,
        "DEAD_LETTERS_TOPIC": letters,
        "REDIS_URL": empty_redis.url,
        "START_TIMEOUT": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    box = LetterBox(embedded_kafka, client_of(empty_redis.url), events, letters, capsys)
    box.publish(A_MINUTE_MS)
    return box


def test_the_list_has_a_line_a_letter_and_totals_and_nothing_personal(box: LetterBox) -> None:
    box.put(a_letter(b"canary", key=b"canary", headers=[{"name": "canary", "value": b"canary"}]))
    box.put(a_letter(None, "empty", stage="a\nb"), b"canary", partition=1)

    code, out, error = box.run("list")

    assert (code, error) == (0, "")
    assert out.splitlines() == [
        f"0:0  2025-06-10T06:04:00Z  {box.events}/1/4711  unknown_schema  decode  6 B",
        f"1:0  2025-06-10T06:04:00Z  {box.events}/1/4711  empty  a?b  0 B",
        "1:1  2025-06-10T06:04:00Z  -  unreadable  -  6 B",
        "        1  unknown_schema",
        "        1  empty",
        "        1  unreadable",
        "        3  in all",
    ]


def test_the_list_can_be_narrowed_and_cut_while_its_totals_are_whole(box: LetterBox) -> None:
    box.put(*[a_letter(GOOD)] * 3, a_letter(GOOD, "bad_latency", stage="validate"))

    _, by_reason, _ = box.run("list", "--reason", "unknown_schema", "--limit", "1")
    _, by_stage, _ = box.run("list", "--stage", "validate")

    assert by_reason.splitlines()[1:] == ["... 2 more", "        3  unknown_schema", "        3  in all"]
    assert by_stage.splitlines()[0].startswith("0:3 ")


def test_one_letter_is_shown_whole(box: LetterBox) -> None:
    box.put(a_letter(framed(an_event(latency_ms=-1)), "bad_latency"), a_letter(b"\x00\x01"))

    _, first, _ = box.run("show", "0:0")
    _, second, _ = box.run("show", "0:1")

    shown = json.loads(first)
    assert shown["event"] == an_event(latency_ms=-1)
    assert bytes.fromhex(shown["value"]) == framed(an_event(latency_ms=-1))
    assert (shown["key"], shown["headers"]) == (b"s-1".hex(), [["trace", "00ff"], ["none", None]])
    assert (shown["reason"], shown["offset"], shown["letter"]) == ("bad_latency", 4711, "0:0")
    assert (json.loads(second)["value"], json.loads(second)["event"]) == ("0001", None)


def test_a_replay_puts_the_very_record_back_where_it_was_and_only_once(box: LetterBox) -> None:
    box.put(a_letter(GOOD, key=b"\xffkey"), partition=1)

    first, second = box.totals("replay"), box.totals("replay")

    (message,) = box.sent_back()
    assert (first, second) == ({"replayed": 1}, {})
    assert (message.partition(), message.key(), message.value()) == (1, b"\xffkey", GOOD)
    assert message.headers() == [("trace", b"\x00\xff"), ("none", None), ("dead-letter-replay", b"1:0")]


def test_letters_that_are_not_chosen_stay_open(box: LetterBox) -> None:
    values = [framed(an_event(event_id=f"e-{n}")) for n in range(6)]
    reasons = ["undecodable", "unknown_schema"] * 3
    box.put(*(a_letter(value, reason) for value, reason in zip(values, reasons, strict=True)))

    runs = [
        box.totals("replay", "--reason", "unknown_schema"),
        box.totals("replay", "--reason", "unknown_schema"),
        box.totals("replay", "0:2", "0:3"),
        box.totals("replay"),
        box.totals("replay"),
    ]

    assert runs == [{"replayed": 3, "left": 3}, {"left": 3}, {"replayed": 1, "left": 2}, {"replayed": 2}, {}]
    assert [message.value() for message in box.sent_back()] == [values[n] for n in (1, 3, 5, 2, 0, 4)]


def test_letters_are_chosen_by_the_time_at_which_they_were_written(box: LetterBox) -> None:
    for hour in range(3):
        box.put(a_letter(framed(an_event(event_id=f"e-{hour}"))), at_ms=WRITTEN_MS + hour * HOUR_MS)

    totals = box.totals("replay", "--since", "2025-06-10T07:04", "--until", "2025-06-10T08:04:00+00:00")

    assert totals == {"replayed": 1, "left": 2}
    assert [message.headers()[-1][1] for message in box.sent_back()] == [b"0:1"]  # type: ignore[index]


def test_others_can_be_given_up(box: LetterBox) -> None:
    box.put(a_letter(GOOD, "undecodable"), a_letter(GOOD))

    first, second = box.totals("replay", "--reason", "unknown_schema", "--skip-others"), box.totals("replay")

    assert (first, second) == ({"replayed": 1, "left": 1}, {})


def test_a_second_rejection_is_final(box: LetterBox) -> None:
    box.put(a_letter(GOOD, headers=[{"name": "dead-letter-replay", "value": b"0:0"}]))

    first, second = box.totals("replay", "--force"), box.totals("replay", "--force")

    assert (first, second) == ({"second_rejection": 1}, {})
    assert box.sent_back() == []


def test_what_was_too_late_or_is_no_letter_is_never_sent(box: LetterBox) -> None:
    box.put(a_letter(GOOD, "too_late"), b"junk")

    assert box.totals("replay", "--force") == {"too_late": 1, "unreadable": 1}
    assert box.sent_back() == []


def test_a_record_beyond_the_lateness_by_now_is_refused_to_the_millisecond_unless_forced(box: LetterBox) -> None:
    box.put(a_letter(framed(an_event(timestamp=A_MINUTE_MS - HOUR_MS - 1))))
    box.put(a_letter(framed(an_event(timestamp=A_MINUTE_MS - HOUR_MS))))

    runs = [box.totals("replay"), box.totals("replay"), box.totals("replay", "--force")]

    assert runs == [{"replayed": 1, "late": 1}, {"late": 1}, {"replayed": 1}]
    assert [message.headers()[-1][1] for message in box.sent_back()] == [b"0:1", b"0:0"]  # type: ignore[index]


def test_without_a_watermark_it_cannot_be_known_and_is_refused_unless_forced(box: LetterBox) -> None:
    box.redis.delete(WATERMARKS_KEY)
    box.publish(A_MINUTE_MS, 0)
    box.put(a_letter(GOOD))

    assert box.totals("replay") == {"watermark_unknown": 1}
    assert box.totals("replay", "--force") == {"replayed": 1}


def test_what_would_be_rejected_again_as_it_is_stays_open(box: LetterBox) -> None:
    box.put(a_letter(b"junk"), a_letter(None), a_letter(framed(an_event(latency_ms=-1))), a_letter(GOOD[:-1]))
    box.put(a_letter(b"\x00\x00\x00\x00\x63" + GOOD[5:]))

    assert box.totals("replay") == {"still_bad": 5}
    assert box.totals("replay", "--force") == {"replayed": 5}


def test_a_letter_of_another_topic_is_not_sent_anywhere(box: LetterBox) -> None:
    box.put(a_letter(GOOD, topic="another"), a_letter(GOOD, partition=PARTITIONS))

    assert box.totals("replay", "--force") == {"other_topic": 2}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(box: LetterBox) -> None:
    box.put(a_letter(GOOD), a_letter(GOOD, "too_late"))

    expected = {"replayed": 1, "too_late": 1}
    assert [box.totals("replay", "--dry-run"), box.totals("replay", "--dry-run")] == [expected, expected]
    assert box.totals("replay", "--backfill", "--dry-run") == {"counted": 1}
    assert box.sent_back() == []
    assert box.redis.keys("*click_count*") == []


def test_many_letters_are_sent_back_in_order(box: LetterBox) -> None:
    values = [framed(an_event(event_id=f"e-{n}")) for n in range(450)]
    box.put(*[a_letter(value) for value in values[:1]])
    box.put(*[a_letter(value) for value in values[1:]])

    assert box.totals("replay") == {"replayed": 450}
    assert [message.value() for message in box.sent_back()] == values


def late_events(count: int, **overrides: Any) -> list[dict[str, Any]]:
    return [an_event(event_id=f"late-{n}", page=f"/accounts/{n}", **overrides) for n in range(count)]


def test_a_backfill_adds_each_late_event_to_its_minute_once_and_sends_nothing(box: LetterBox) -> None:
    box.put(*(a_letter(framed(event), "too_late") for event in late_events(3)), a_letter(GOOD))
    box.redis.hset("click_count:/accounts/:n", MINUTE, 10)
    box.redis.hset("{click_count:/accounts/:n}:parts", f"{MINUTE}|0", 10)

    first, second = box.totals("replay", "--backfill"), box.totals("replay", "--backfill")

    assert (first, second) == ({"counted": 3}, {"already_counted": 3})
    assert box.redis.hgetall("click_count:/accounts/:n") == {MINUTE: "13"}
    parts = {f"{MINUTE}|0": "10", f"{MINUTE}|backfill": "3"}
    assert box.redis.hgetall("{click_count:/accounts/:n}:parts") == parts
    assert box.redis.smembers(PAGES_KEY) == {"/accounts/:n"}
    assert box.sent_back() == []
    assert box.totals("replay") == {"replayed": 1, "too_late": 3}


def test_two_letters_of_one_event_count_once(box: LetterBox) -> None:
    (event,) = late_events(1)
    box.put(a_letter(framed(event), "too_late"), a_letter(framed(event), "too_late", offset=9))

    assert box.totals("replay", "--backfill") == {"counted": 1, "already_counted": 1}


def test_a_forced_replay_that_was_too_late_again_can_be_counted(box: LetterBox) -> None:
    (event,) = late_events(1)
    box.put(a_letter(framed(event), "too_late", headers=[{"name": "dead-letter-replay", "value": b"0:0"}]))

    assert box.totals("replay", "--backfill") == {"counted": 1}


def test_a_backfill_refuses_minutes_that_are_pruned_and_values_that_are_no_events(box: LetterBox) -> None:
    box.redis.hset("{click_count:/a}:parts", "floor", MINUTE)
    times = (A_MINUTE_MS - 1, A_MINUTE_MS)
    events = [an_event(page="/a", event_id=str(time_ms), timestamp=time_ms) for time_ms in times]
    box.put(*(a_letter(framed(event), "too_late") for event in events), a_letter(b"junk", "too_late"))

    assert box.totals("replay", "--backfill") == {"counted": 1, "below_floor": 1, "still_bad": 1}
    assert box.redis.hgetall("click_count:/a") == {MINUTE: "1"}


def test_a_backfill_names_no_more_pages_than_a_day_may_have_and_never_counts_one_twice(box: LetterBox) -> None:
    box.redis.sadd(PAGES_KEY, *(f"/p{n}x" for n in range(500)))
    for page in ("/p7x", "/new"):
        box.put(a_letter(framed(an_event(page=page)), "too_late"))
    both = an_event(page="/new", event_id="e-2")
    box.put(a_letter(framed(both), "too_late"))

    totals = box.totals("replay", "--backfill")
    box.redis.sadd(PAGES_KEY, "/new")
    again = box.totals("replay", "--backfill")

    assert (totals, again) == ({"counted": 3}, {"already_counted": 3})
    assert counts_in(box.redis) == {("/p7x", MINUTE): 1, ("other", MINUTE): 2}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["replay", "--backfill", "--reason", "empty"], "--backfill is for letters with reason too_late"),
        (["replay", "--backfill", "--force"], "--backfill does not go with --force"),
        (["replay", "--reason", "too_late"], "--backfill counts them"),
        (["replay", "17"], "expected PARTITION:OFFSET"),
        (["replay", "--since", "noon"], "expected a time"),
        (["list", "--limit", "x"], "expected a whole number"),
        ([], "required: command"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_2(box: LetterBox, argv: list[str], line: str) -> None:
    code, out, error = box.run(*argv)

    assert (code, out) == (2, "")
    assert error.startswith("dead_letters: ")
    assert line in error
    assert error.count("\n") == 1


def test_a_bad_setting_gives_one_line_and_exit_2(box: LetterBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANES", "none")

    code, out, error = box.run("list")

    assert (code, out) == (2, "")
    assert error == "dead_letters: LANES must be a whole number from 1 to 10000, got 'none'\n"


@pytest.mark.parametrize(
    ("name", "value", "argv", "line"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}", ["list"], "no answer"),
        ("KAFKA_SSL_CA_LOCATION", "no/such/file", ["list"], "settings cannot be used"),
        ("DEAD_LETTERS_TOPIC", "no/such/topic", ["list"], "no topic no/such/topic"),
        ("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0", ["replay"], "Redis does not do"),
        ("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0", ["replay", "--backfill"], "Redis does not do"),
        ("SCHEMA_REGISTRY_URL", f"http://127.0.0.1:{free_port()}", ["replay"], "SCHEMA_REGISTRY_URL: no answer"),
        ("", "", ["show", "0:99"], "has no letter 0:99"),
    ],
)
def test_what_cannot_be_done_gives_one_line_and_exit_1(
    box: LetterBox, monkeypatch: pytest.MonkeyPatch, name: str, value: str, argv: list[str], line: str
) -> None:
    box.put(a_letter(GOOD, "too_late"))
    if name == "KAFKA_SSL_CA_LOCATION":
        monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "ssl")
    monkeypatch.setenv(name or "UNUSED", value)

    code, out, error = box.run(*argv)

    assert (code, out) == (1, "")
    assert line in error
    assert error.count("\n") == 1
    assert box.sent_back() == []


def test_a_record_that_cannot_be_sent_stays_open(box: LetterBox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put(a_letter(GOOD))
    monkeypatch.setenv("DELIVERY_TIMEOUT", "1")
    box.kafka.fail_requests(0, [29] * 3)  # TOPIC_AUTHORIZATION_FAILED to Produce

    code, _, error = box.run("replay")
    box.kafka.fail_requests(0, [])

    assert code == 1
    assert "the ledger was not moved" in error
    assert box.totals("replay") == {"replayed": 1}
