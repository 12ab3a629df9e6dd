"""Page windows against the reference, over every way to cut a stream, with restores between."""

from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.admission import ADMITTED, Admission
from features.events import EventColumns
from features.page_windows import PageWindows
from features.pages import normalise_page, with_normal_pages
from features.snapshot import SnapshotError
from tests.builders import an_event, event_frame
from tests.reference import ReferencePageWindows, ReferenceRow, reference_page
from tests.streams import Cut, Stream, cut_streams, long_cut, long_stream


def admitted_batches(stream: Stream, cut: Cut) -> Iterator[tuple[pl.DataFrame, list[ReferenceRow], int | None, bool]]:
    """Give each batch's admitted rows (as a frame with normal pages, and as reference rows), watermark, restored."""
    admission, frame = Admission(horizon=stream.horizon), event_frame(stream.records)
    for place, restored in cut.batches():
        verdicts = admission.judge(EventColumns.from_frame(frame[place]))
        kept = verdicts.verdict == ADMITTED
        rows = [row for row, keep in zip(stream.rows[place], kept.tolist(), strict=True) if keep]
        yield with_normal_pages(frame[place].filter(pl.Series(kept))), rows, verdicts.watermark_ms, restored


def counted_alike(stream: Stream, cut: Cut, most: int) -> None:
    """Read the stream both ways; after every batch, exactly the windows it touched are given, each with its count."""
    reference, windows = ReferencePageWindows(most), PageWindows(max_pages=most)
    for frame, rows, watermark_ms, restored in admitted_batches(stream, cut):
        given_counts = [(count.page, count.minute_ms, count.count) for count in windows.count(frame, watermark_ms)]

        touched = dict.fromkeys(map(reference.update, rows))
        assert sorted(given_counts) == sorted((*window, reference.counts[window]) for window in touched)
        if restored:
            windows = PageWindows(max_pages=most).restore(windows.snapshot())


@settings(max_examples=150, deadline=None)
@given(cut_streams(), st.sampled_from((1_000, 1, 2, 5)))
def test_every_cut_of_a_stream_is_counted_as_the_reference_does(cut_stream: tuple[Stream, Cut], most: int) -> None:
    counted_alike(*cut_stream, most)


@pytest.mark.parametrize("most", [3, 500])
def test_a_long_stream_is_counted_as_the_reference_does(most: int) -> None:
    stream = long_stream(seed=most, count=3_000, calm=True, walks_pages=most > 3)

    for seed in range(2):
        counted_alike(stream, long_cut(seed, len(stream.records)), most)


def test_a_page_named_other_takes_no_place_among_the_pages_of_a_day() -> None:
    reference, windows = ReferencePageWindows(1), PageWindows(max_pages=1)
    records = [an_event(page=page) for page in ("other", "/a", "/b")]

    counts = windows.count(with_normal_pages(event_frame(records)), None)

    assert [reference.update(ReferenceRow.from_record(record))[0] for record in records] == ["other", "/a", "other"]
    assert {count.page: count.count for count in counts} == {"other": 2, "/a": 1}


def test_windows_that_no_admitted_row_can_reach_are_forgotten() -> None:
    windows = PageWindows(lateness_ms=3_600_000)
    minute = datetime(2025, 6, 10, 5, 4, tzinfo=UTC)
    minute_ms = int(minute.timestamp()) * 1_000
    windows.count(with_normal_pages(event_frame([an_event(timestamp=minute_ms)])), minute_ms)

    windows.count(event_frame([]), minute_ms + 59_999 + 3_600_000)
    assert len(windows) == 1

    windows.count(event_frame([]), minute_ms + 60_000 + 3_600_000)
    assert len(windows) == 0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ("/", "?", "#", "7", "12", "a", "{", "}", "\x00", "\x7f", "\N{EURO SIGN}", "\N{ARABIC-INDIC DIGIT ONE}")
        )
        | st.uuids().map(str)
        | st.uuids().map(lambda u: str(u).upper())
        | st.text(max_size=5)
        | st.sampled_from(("x" * 250, "\N{EURO SIGN}" * 83)),
        max_size=12,
    ).map("".join)
)
@example("/{12}")
def test_any_page_gets_the_normal_form_of_the_reference(page: str) -> None:
    assert normalise_page(page) == reference_page(page)


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(SnapshotError):
        PageWindows().restore(b"something else")
