"""Labels of anybody's sessions: how they may be written, and that each is known only from its time on."""

from pathlib import Path

import polars as pl
import pytest

from model.labels import UNNAMED_KIND, LabelsError, known_by, read_labels


def a_file(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_labels_may_be_words_or_numbers_and_times_ms_or_iso(tmp_path: Path) -> None:
    text = (
        "session_id,label,known_at,onset_at,kind\n"
        "a,1,2025-06-10T05:04:00,2025-06-10T05:03:00Z,takeover\n"
        "b,Genuine,2025-06-10T07:04:00+02:00,,\n"
        "c,imposter,2025-06-10 05:04:01,,\n"
    )

    labels = read_labels(a_file(tmp_path, text))

    assert labels["label"].to_list() == [1, 0, 1]
    assert labels["known_at"].to_list() == [1_749_531_840_000, 1_749_531_840_000, 1_749_531_841_000]
    assert labels["onset_at"].to_list() == [1_749_531_780_000, None, None]
    assert labels["kind"].to_list() == ["takeover", "", UNNAMED_KIND]


def test_a_parquet_file_gives_the_same_as_csv(tmp_path: Path) -> None:
    path = a_file(tmp_path, "session_id,label,known_at\na,1,1000\nb,0,2000\n")
    pl.read_csv(path).write_parquet(tmp_path / "labels.parquet")

    assert read_labels(tmp_path / "labels.parquet").equals(read_labels(path))


def test_what_became_known_last_counts_and_only_from_then_on(tmp_path: Path) -> None:
    labels = read_labels(a_file(tmp_path, "session_id,label,known_at\na,1,1000\na,0,3000\nb,1,2000\n"))

    assert known_by(labels, 999).height == 0
    assert dict(known_by(labels, 2_000).select("session_id", "label").iter_rows()) == {"a": 1, "b": 1}
    assert dict(known_by(labels, 3_000).select("session_id", "label").iter_rows()) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("session_id,known_at\na,1\n", "expected a column label, got session_id, known_at"),
        ("session_id,label,known_at\na,perhaps,1\n", "column label must be one of 1, true, fraud"),
        ("session_id,label,known_at\na,1,soon\n", "column known_at must be ms, times or ISO 8601 texts"),
        ("session_id,label,known_at\na,1,\n", "must have a time in every row, got 1 without"),
    ],
)
def test_labels_that_are_none_are_refused_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LabelsError, match=r"labels\.csv") as refused:
        read_labels(a_file(tmp_path, text))

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="cannot be read"):
        read_labels(tmp_path / "labels.csv")
