"""What became known of sessions, and when: `session_id, label, known_at`, and optionally `onset_at` and `kind`."""

from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from model.times import as_ms

FRAUD_WORDS = ("1", "true", "fraud", "imposter", "impostor", "attack")
HONEST_WORDS = ("0", "false", "honest", "genuine", "legitimate")
UNNAMED_KIND = "fraud"
"""The kind of attacks whose file names none."""

LABELS = pl.Schema(
    {"session_id": pl.String, "label": pl.UInt8, "known_at": pl.Int64, "onset_at": pl.Int64, "kind": pl.String}
)
"""Columns of labels: `label` 1 for fraud; `known_at` and `onset_at` in ms since 1970 (UTC), `onset_at` null where
nobody knows when it began; `kind` empty for honest sessions.
"""


class LabelsError(ValueError):
    """Labels cannot be used; the text says where, what was expected and what was there."""


def read_labels(path: Path) -> pl.DataFrame:
    """Read labels from a csv or Parquet file.

    A session may have several rows: what became known of it last counts, from then on.

    Raises:
        LabelsError: If the file cannot be read, a column is missing, or a value is none.
    """
    try:
        stored = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (OSError, PolarsError) as error:
        msg = f"labels {path}: cannot be read: {str(error).splitlines()[0]}"
        raise LabelsError(msg) from error
    for name in ("session_id", "label", "known_at"):
        if name not in stored.columns:
            msg = f"labels {path}: expected a column {name}, got {', '.join(stored.columns)}"
            raise LabelsError(msg)
    return labels_of(stored, str(path))


def labels_of(stored: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return labels in the types of `LABELS`.

    Args:
        stored: With `session_id`, `label`, `known_at`, and perhaps `onset_at` and `kind`.
        where: What an error calls the place.

    Raises:
        LabelsError: If a value is none.
    """
    onset = stored["onset_at"] if "onset_at" in stored.columns else pl.Series([None] * stored.height, dtype=pl.Int64)
    kind = stored["kind"].cast(pl.String) if "kind" in stored.columns else pl.Series([None] * stored.height)
    labels = pl.DataFrame(
        {
            "session_id": stored["session_id"].cast(pl.String),
            "label": _label(stored["label"], where),
            "known_at": _time(stored["known_at"], "known_at", where),
            "onset_at": _time(onset, "onset_at", where),
            "kind": kind.cast(pl.String),
        }
    )
    if labels["known_at"].null_count():
        without = labels["known_at"].null_count()
        msg = f"labels {where}: column known_at must have a time in every row, got {without} without"
        raise LabelsError(msg)
    named = pl.col("kind").fill_null("").replace("", UNNAMED_KIND)
    return labels.with_columns(kind=pl.when(pl.col("label") == 1).then(named).otherwise(pl.lit("")))


def known_by(labels: pl.DataFrame, at_ms: int) -> pl.DataFrame:
    """Return what was known of each session at a time: one row a session."""
    known = labels.filter(pl.col("known_at") <= at_ms).sort("known_at", maintain_order=True)
    return known.unique("session_id", keep="last", maintain_order=True)


def _label(column: pl.Series, where: str) -> pl.Series:
    words = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    codes = dict.fromkeys(FRAUD_WORDS, 1) | dict.fromkeys(HONEST_WORDS, 0)
    labels = words.replace_strict(codes, default=None, return_dtype=pl.UInt8)
    if labels.null_count():
        other = words.filter(labels.is_null()).fill_null("nothing")[0]
        msg = f"labels {where}: column label must be one of {', '.join(codes)}, got {other[:40]!r}"
        raise LabelsError(msg)
    return labels


def _time(column: pl.Series, name: str, where: str) -> pl.Series:
    try:
        return as_ms(column)
    except ValueError as error:
        msg = f"labels {where}: column {name} {error}"
        raise LabelsError(msg) from error
