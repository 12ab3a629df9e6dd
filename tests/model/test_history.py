"""Stored events of anybody's bank, in any of the forms, become the frame that decoding would give."""

import json
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

from model.history import HistoryError, read_events
from schemas.catalogue import EVENT
from schemas.events import EVENT_FRAME, EVENT_TYPES
from tests.builders import a_session, an_event


def some_events() -> list[dict[str, Any]]:
    records = a_session(["login", "page_view", "transfer"], session_id="s-1", input_hash="h")
    return records + a_session(
        ["login_failed"], session_id="s-2", start_ms=records[1]["timestamp"], ip="::FFFF:192.0.2.7"
    )


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".avro":
        with path.open("wb") as file:
            fastavro.writer(file, EVENT.definition, records)
    elif path.suffix == ".parquet":
        pl.DataFrame(records).write_parquet(path)
    else:
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".ndjson", ".avro"])
def test_every_form_gives_the_same_frame_in_order_of_time(tmp_path: Path, suffix: str) -> None:
    events, left_out = read_events(write(tmp_path / f"events{suffix}", some_events()))

    assert dict(events.schema) == dict(EVENT_FRAME)
    assert not left_out
    assert events["event_type"].to_list() == [
        EVENT_TYPES.index(name) for name in ("login", "page_view", "login_failed", "transfer")
    ]
    assert events["ip"].to_list() == ["203.0.113.7", "203.0.113.7", "192.0.2.7", "203.0.113.7"]
    assert events["row"].to_list() == [0, 1, 2, 3]
    assert events["timestamp"].is_sorted()


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    records = some_events()
    write(tmp_path / "b.jsonl", records[:2])
    write(tmp_path / "a.parquet", records[2:])

    events, _ = read_events(tmp_path)

    assert sorted(events["event_id"]) == sorted(record["event_id"] for record in records)


def test_times_may_be_texts_or_times(tmp_path: Path) -> None:
    row = {"session_id": "s", "event_type": "click", "event_id": "e"}
    texts, times = tmp_path / "texts.jsonl", tmp_path / "times.parquet"
    texts.write_text(json.dumps({**row, "timestamp": "2025-06-10T05:04:00.250Z"}))
    pl.DataFrame({**row, "timestamp": [1_749_531_840_250]}).with_columns(
        pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))
    ).write_parquet(times)

    assert [read_events(path)[0]["timestamp"].to_list() for path in (texts, times)] == [[1_749_531_840_250]] * 2


def test_what_is_not_required_may_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl", [{"session_id": "s", "event_type": "swipe", "timestamp": 5}])

    [row] = read_events(path)[0].to_dicts()

    assert row["event_type"] == EVENT_TYPES.index("other")
    assert (row["event_id"], row["user_id"], row["page"], row["latency_ms"]) == ("events-0", "", "", 0)
    assert (row["element_id"], row["input_hash"], row["ip"]) == (None, None, None)


def test_what_the_live_flow_would_refuse_is_left_out_and_counted(tmp_path: Path) -> None:
    records = [
        an_event(),
        an_event(),
        an_event(event_id="e-2", latency_ms=-1),
        an_event(event_id="e-3", timestamp=0),
        an_event(event_id="e-4", session_id=""),
        an_event(event_id="e-5", session_id="s" * 200),
        an_event(event_id="e-6", page="/" * 5_000),
    ]

    events, left_out = read_events(write(tmp_path / "events.parquet", records))

    assert events["event_id"].to_list() == ["e-1"]
    assert left_out == {
        "duplicate": 1,
        "bad_latency": 1,
        "bad_timestamp": 1,
        "missing_id": 1,
        "id_too_long": 1,
        "string_too_long": 1,
    }


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "events.jsonl",
            '{"session_id": "s", "timestamp": 1}',
            "expected a column event_type, got session_id, timestamp",
        ),
        ("events.jsonl", '{"session_id": "s", "event_type": "click", "timestamp": "noon"}', "column timestamp must be"),
        (
            "events.jsonl",
            '{"session_id": [1], "event_type": "click", "timestamp": 1}',
            "column session_id must be text",
        ),
        ("events.parquet", "no parquet", "cannot be read"),
        ("events.avro", "no avro", "cannot be read"),
        ("events.txt", "text", "expected one of .parquet"),
    ],
)
def test_files_that_are_no_events_are_refused_in_one_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(content)

    with pytest.raises(HistoryError, match=name) as refused:
        read_events(path)

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="got none"):
        read_events(tmp_path / "events.parquet")
