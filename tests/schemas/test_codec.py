import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas import codec
from schemas.catalogue import EVENT
from schemas.events import EVENT_FRAME, EVENT_TYPES
from schemas.records import RecordReader
from tests.schemas.builders import (
    NOW_MS,
    an_event,
    body,
    decoded,
    event_schema,
    framed,
    outcome,
    plainly_decoded,
    some_events,
    with_field,
)

PANIC: type[BaseException] = pl.exceptions.PanicException
V1 = {1: EVENT.definition}
Spoil = Callable[[bytes], bytes]
BAD_BODIES: dict[str, Spoil] = {
    "truncated": lambda value: value[:-3],
    "longer than it says": lambda value: value + b"x",
    "negative length": lambda value: value[:5] + b"\x01" + value[6:],
    "length of 2**40": lambda value: value[:5] + b"\x80\x80\x80\x80\x80\x40" + value[6:],
    "length of the rest of the batch": lambda value: value[:5] + b"\xd0\x0f" + value[6:],
    "not UTF-8": lambda value: value[:6] + b"\xff" + value[7:],
    "no body": lambda value: value[:5],
}


def reasons(values: Sequence[bytes | None]) -> list[str]:
    return [reject.reason for reject in decoded(values).rejects]


def test_events_come_back_as_they_were_written() -> None:
    events = some_events(200)

    result = decoded([framed(event) for event in events])

    assert result.rejects == []
    assert result.events.schema == EVENT_FRAME
    assert result.events["row"].to_list() == list(range(200))
    for name in ("event_id", "session_id", "user_id", "page", "element_id", "input_hash", "timestamp", "latency_ms"):
        assert result.events[name].to_list() == [event[name] for event in events]
    assert [EVENT_TYPES[code] for code in result.events["event_type"]] == [event["event_type"] for event in events]


def test_no_records_give_an_empty_event_frame() -> None:
    result = decoded([])

    assert result.events.schema == EVENT_FRAME
    assert result.events.height == 0
    assert result.rejects == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"\0", "truncated_frame"),
        (b"\0\0\0\1", "truncated_frame"),
        (b"\1" + framed(an_event())[1:], "bad_magic"),
        (b'{"event_id": "e-1"}', "bad_magic"),
        (framed(an_event(page="x" * 70_000)), "too_large"),
        (framed(an_event(), schema_id=99), "unknown_schema"),
        (b"\0\0\0\0\1", "undecodable"),
    ],
)
def test_a_value_that_is_no_frame_of_ours_is_refused_by_name(value: bytes | None, reason: str) -> None:
    good = framed(an_event())

    result = decoded([good, value, good])

    assert [(reject.row, reject.reason, reject.stage) for reject in result.rejects] == [(1, reason, "decode")]
    assert result.events["row"].to_list() == [0, 2]


@pytest.mark.parametrize("spoil", BAD_BODIES.values(), ids=BAD_BODIES.keys())
@pytest.mark.parametrize("count", [1, 3, 100])
def test_one_bad_body_leaves_the_rest_of_its_batch_unharmed(spoil: Spoil, count: int) -> None:
    values: list[bytes | None] = [framed(event) for event in some_events(count)]
    values[count // 2] = spoil(framed(an_event()))

    result = decoded(values)

    assert outcome(result) == plainly_decoded(values, V1)
    assert [reject.row for reject in result.rejects] == [count // 2]


def test_a_body_with_bytes_left_over_is_named_so() -> None:
    assert reasons([framed(an_event()) + b"\0"]) == ["trailing_bytes"]


def test_a_surplus_in_one_body_cannot_make_up_for_a_lack_in_the_next() -> None:
    values: list[bytes | None] = [framed(event) for event in some_events(60)]
    first, second = framed(an_event()), framed(an_event())
    values[30], values[31] = first + second[5:15], second[:5] + second[15:]

    result = decoded(values)

    assert [reject.row for reject in result.rejects] == [30, 31]


def test_an_integer_beyond_32_bits_is_not_cut() -> None:
    wide = event_schema(lambda fields: fields["latency_ms"].update(type="long"))
    values = [framed(an_event(latency_ms=2**40), definition=wide) for _ in range(50)]

    assert reasons(values) == ["bad_latency"] * 50


@pytest.mark.parametrize(("old", "new"), [(b"\x02\x06pay", b"\x0a\x06pay"), (b"\x02\x06pay", b"\x03\x06pay")])
def test_a_union_index_that_does_not_exist_is_not_read_as_the_value(old: bytes, new: bytes) -> None:
    values: list[bytes | None] = [framed(an_event()) for _ in range(60)]
    values[20] = framed(an_event()).replace(old, new)

    assert [reject.row for reject in decoded(values).rejects] == [20]


def test_rows_of_several_writers_stay_in_input_order_with_bad_ones_between() -> None:
    newer = with_field("channel", ["null", "string"])
    slower = with_field("tags", {"type": "map", "values": "string"})
    definitions = V1 | {7: newer, 8: slower, 9: {"type": "record", "name": "Other", "fields": []}}
    values: list[bytes | None] = []
    for event, kind in zip(some_events(300), itertools.cycle(range(7)), strict=False):
        values.append(
            [
                framed(event),
                framed(event | {"channel": "web"}, 7, newer),
                None,
                framed(event | {"tags": {"a": "b"}}, 8, slower),
                framed(event) + b"\0",
                framed(event | {"channel": None}, 7, newer),
                framed(event | {"latency_ms": -1}),
            ][kind]
        )

    result = decoded(values, definitions)

    assert outcome(result) == plainly_decoded(values, definitions)
    assert result.events["row"].is_sorted()


def test_a_schema_that_is_no_event_refuses_its_records_and_only_them() -> None:
    other = {"type": "record", "name": "AccountStatus", "fields": [{"name": "user_id", "type": "string"}]}
    definitions = V1 | {4: other}

    result = decoded([framed({"user_id": "u"}, 4, other), framed(an_event())], definitions)

    assert [(reject.row, reject.reason) for reject in result.rejects] == [(0, "wrong_schema")]
    assert result.events["row"].to_list() == [1]


@pytest.mark.parametrize("cuts", [[1], [40], [10, 11, 90], list(range(1, 120))])
def test_how_records_are_cut_into_calls_changes_nothing(cuts: list[int]) -> None:
    values: list[bytes | None] = [framed(event) for event in some_events(120)]
    for row, spoil in zip(range(3, 120, 13), itertools.cycle(BAD_BODIES.values()), strict=False):
        values[row] = spoil(framed(an_event()))
    whole = outcome(decoded(values))

    events, rejects = [], []
    for start, end in itertools.pairwise([0, *cuts, 120]):
        some_rows, some_rejects = outcome(decoded(values[start:end]))
        events += [row | {"row": row["row"] + start} for row in some_rows]
        rejects += [(row + start, reason, stage) for row, reason, stage in some_rejects]

    assert (events, rejects) == whole


@pytest.mark.parametrize("spoil", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_only_the_bad_body_of_a_batch_is_read_by_itself(spoil: Spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [framed(event) for event in some_events(100)]
    values[50] = spoil(framed(an_event()))
    writers = {1: codec.WriterSchema.from_definition(EVENT.definition)}
    read, judged = RecordReader.read_one, []

    def count(reader: RecordReader, body: bytes) -> dict[str, Any]:
        judged.append(body)
        return read(reader, body)

    monkeypatch.setattr(RecordReader, "read_one", count)
    result = codec.decode(values, np.full(100, NOW_MS), writers)

    assert judged == [values[50][5:]]
    assert [reject.row for reject in result.rejects] == [50]


def test_a_panicking_reader_costs_time_but_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [framed(event) for event in some_events(100)]
    expected = outcome(decoded(values))

    def panic(*_: object) -> pl.DataFrame:
        raise PANIC

    writers = {1: codec.WriterSchema.from_definition(EVENT.definition)}
    monkeypatch.setattr(pl, "read_avro", panic)
    result = codec.decode(values, np.full(100, NOW_MS), writers)

    assert outcome(result) == expected


def test_a_reader_that_gives_rows_in_another_order_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [framed(event) for event in some_events(100)]
    expected = outcome(decoded(values))
    read = pl.read_avro
    writers = {1: codec.WriterSchema.from_definition(EVENT.definition)}
    monkeypatch.setattr(pl, "read_avro", lambda source: read(source).reverse())

    result = codec.decode(values, np.full(100, NOW_MS), writers)

    assert outcome(result) == expected


def test_error_texts_hold_nothing_of_the_record() -> None:
    canary = "canary-4711"
    values: list[bytes | None] = [
        framed(an_event(event_id=canary + "\0")),
        framed(an_event(session_id=canary * 20)),
        framed(an_event(page=canary, latency_ms=-1)),
        framed(an_event(user_id=canary)) + b"x",
        framed(an_event(user_id=canary, ip=canary))[:-1],
    ]

    result = decoded(values)

    assert len(result.rejects) == 5
    assert not any("canary" in reject.error for reject in result.rejects)


def test_deeply_nested_bytes_of_a_schema_that_contains_itself_are_never_read() -> None:
    nested = with_field("next", ["null", "BankingUIEvent"])

    result = decoded([b"\0\0\0\0\5" + body(an_event()) + b"\2" * 60_000], {5: nested})

    assert [reject.reason for reject in result.rejects] == ["wrong_schema"]
