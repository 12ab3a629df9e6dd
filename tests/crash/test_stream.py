"""The load of the crash tests: the same for the same seed, with everything in it, keyed as Kafka's producers key."""

from collections import Counter

import pytest

from tests.crash.plain_events import EventReader, RefusedError
from tests.crash.redis_proxy import CommandCounter
from tests.crash.registry_stub import partition_of
from tests.crash.stream import start_before, stream

NOW_MS = 1_790_000_000_000


def test_a_seed_decides_every_record() -> None:
    first, again, other = (list(stream(seed, 500, start_before(NOW_MS))) for seed in (3, 3, 4))

    assert len(first) == 500
    assert first == again
    assert first != other


def test_it_lies_in_the_past_and_holds_bad_records_of_every_kind() -> None:
    reader, reasons, latest_ms = EventReader(), Counter[str](), 0
    for _, value in stream(5, 20_000, start_before(NOW_MS)):
        try:
            record = reader.read(value, NOW_MS)
        except RefusedError as refused:
            reasons[str(refused)] += 1
        else:
            latest_ms = max(latest_ms, record["timestamp"] if record["session_id"] != "wild-clock" else 0)

    decoding = {"empty", "truncated_frame", "bad_magic", "too_large", "unknown_schema", "wrong_schema", "undecodable"}
    values = {"missing_id", "id_too_long", "bad_timestamp", "future", "bad_latency", "string_too_long", "bad_id"}
    assert set(reasons) == {*decoding, *values, "trailing_bytes"}
    assert latest_ms < NOW_MS


@pytest.mark.parametrize(("key", "hashed"), [("21", -973932308), ("foobar", -790332482), ("abc", 479470107)])
def test_keys_go_where_kafkas_producers_send_them(key: str, hashed: int) -> None:
    assert partition_of(key, 2**31) == hashed & 0x7FFFFFFF


def test_commands_are_counted_however_they_are_cut() -> None:
    commands = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n" * 3
    counter = CommandCounter()

    counted = [counter.feed(commands[at : at + 5]) for at in range(0, len(commands), 5)]

    assert sum(counted) == 6
    assert max(counted) == 1
