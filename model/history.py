"""Stored events of anybody's bank: Parquet, JSON lines or Avro files of our schema's fields, as one event frame.

Rows are treated as the live flow would: what `schemas.validation` refuses there is left out and counted here, repeats
are left out, addresses come in normal form, and an event type that we do not know is `other`.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from model.times import as_ms
from schemas.addresses import normal_addresses
from schemas.events import EVENT_FRAME, EVENT_TYPE_CODES, OTHER
from schemas.validation import MAX_ID_BYTES, MAX_LATENCY_MS, MAX_STRING_BYTES, MAX_TIMESTAMP_MS

TOPIC = "topic:"
"""Stands before the name of a topic where events are asked for."""
REQUIRED = ("session_id", "event_type", "timestamp")
_EMPTY = ("user_id", "page", "device_fingerprint", "ip")
"""Texts that are empty where a file does not have them."""

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
    ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
    ".avro": pl.read_avro,
}


class HistoryError(ValueError):
    """Stored events cannot be used; the text says which file, what was expected and what was there."""


def read_events(path: Path) -> tuple[pl.DataFrame, Counter[str]]:
    """Read the events of a file, or of all files of a directory.

    Args:
        path: `.parquet`, `.jsonl`, `.ndjson` or `.avro`, or a directory of these.

    Returns:
        An event frame (`EVENT_FRAME`) in order of time, rows of one time as they lie in the files; and how many rows
        were left out, by reason.

    Raises:
        HistoryError: If there is no such file, or a required field is missing or of another type.
    """
    parts = [_fields_of(_read(file), file) for file in _files(path)]
    events = pl.concat(parts)
    reason = _reasons()
    judged = events.with_columns(reason.alias("reason"))
    left_out = Counter(judged["reason"].drop_nulls().to_list())
    good = judged.filter(pl.col("reason").is_null()).drop("reason").sort("timestamp", maintain_order=True)
    once = good.unique(("session_id", "event_id", "event_type", "timestamp"), keep="first", maintain_order=True)
    if once.height < good.height:
        left_out["duplicate"] = good.height - once.height
    ip = pl.Series("ip", normal_addresses(once["ip"].to_list()), dtype=pl.String)
    numbered = once.with_columns(ip, pl.int_range(once.height, dtype=pl.UInt32).alias("row"))
    return numbered.select(EVENT_FRAME.names()), left_out


def read_stored(named: str) -> tuple[pl.DataFrame, Counter[str]]:
    """Read the events of a path, as `read_events` does, or of the Kafka topic that `topic:NAME` names.

    Raises:
        HistoryError: As `read_events`; or if the topic cannot be read.
    """
    if not named.startswith(TOPIC):
        return read_events(Path(named))
    with tempfile.TemporaryDirectory() as folder:
        _export(named.removeprefix(TOPIC), folder)
        return read_events(Path(folder))


def _export(topic: str, folder: str) -> None:
    """Have a topic written to files. A process of its own does it: this package knows no Kafka."""
    command = [sys.executable, "-m", "dataflows.export", topic, "--out", folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own program
    if done.returncode:
        raise HistoryError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"cannot export {topic}")


def _files(path: Path) -> Sequence[Path]:
    files = sorted(file for file in path.iterdir() if file.suffix in _READERS) if path.is_dir() else [path]
    if not files or not files[0].exists():
        msg = f"events {path}: expected a file or directory with {', '.join(_READERS)}, got none"
        raise HistoryError(msg)
    return files


def _read(file: Path) -> pl.DataFrame:
    reader = _READERS.get(file.suffix)
    if reader is None:
        msg = f"events {file}: expected one of {', '.join(_READERS)}, got {file.suffix or 'no ending'}"
        raise HistoryError(msg)
    try:
        return reader(file)
    except (OSError, PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"events {file}: cannot be read: {reason}"
        raise HistoryError(msg) from error


def _fields_of(stored: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Return the fields of our schema, in its types; those that may be missing are filled."""
    for name in REQUIRED:
        if name not in stored.columns:
            msg = f"events {file}: expected a column {name}, got {', '.join(stored.columns)}"
            raise HistoryError(msg)
    height = stored.height
    columns = {
        "event_id": _text(stored, "event_id", file) if "event_id" in stored.columns else _numbers(height, file),
        **{name: _text(stored, name, file).fill_null("") for name in ("session_id", *_EMPTY)},
        "event_type": _types(_text(stored, "event_type", file)),
        **{name: _text(stored, name, file) for name in ("element_id", "input_hash")},
        "timestamp": _times(stored["timestamp"], file),
        "latency_ms": _latencies(stored, file),
    }
    return pl.DataFrame(columns).select(name for name in EVENT_FRAME.names() if name != "row")


def _numbers(height: int, file: Path) -> pl.Series:
    """Name events that have no id by their place."""
    return pl.Series([f"{file.stem}-{row}" for row in range(height)], dtype=pl.String)


def _text(stored: pl.DataFrame, name: str, file: Path) -> pl.Series:
    if name not in stored.columns:
        return pl.Series(name, [None] * stored.height, dtype=pl.String)
    column = stored[name]
    if column.dtype.is_nested() or column.dtype.is_float():
        msg = f"events {file}: column {name} must be text, got {column.dtype}"
        raise HistoryError(msg)
    return column.cast(pl.String)


def _types(names: pl.Series) -> pl.Series:
    return names.replace_strict(EVENT_TYPE_CODES, default=OTHER, return_dtype=pl.UInt8)


def _times(column: pl.Series, file: Path) -> pl.Series:
    try:
        return as_ms(column)
    except ValueError as error:
        msg = f"events {file}: column timestamp {error}"
        raise HistoryError(msg) from error


def _latencies(stored: pl.DataFrame, file: Path) -> pl.Series:
    if "latency_ms" not in stored.columns:
        return pl.zeros(stored.height, dtype=pl.Int64, eager=True)
    column = stored["latency_ms"]
    if not column.dtype.is_numeric():
        msg = f"events {file}: column latency_ms must be numbers, got {column.dtype}"
        raise HistoryError(msg)
    return column.cast(pl.Int64, strict=False).fill_null(0)


def _reasons() -> pl.Expr:
    """Return why a row would be a dead letter, null where it would not: the rules of `schemas.validation`."""
    ids = [pl.col(name).str.len_bytes() for name in ("event_id", "session_id", "user_id")]
    texts = [pl.col(name).str.len_bytes() for name in ("page", "element_id", "input_hash", "device_fingerprint", "ip")]
    missing = (ids[0].fill_null(0) == 0) | (ids[1] == 0)
    timestamp, latency = pl.col("timestamp"), pl.col("latency_ms")
    return (
        pl.when(missing)
        .then(pl.lit("missing_id"))
        .when(pl.max_horizontal(ids) > MAX_ID_BYTES)
        .then(pl.lit("id_too_long"))
        .when(timestamp.is_null() | ~timestamp.is_between(1, MAX_TIMESTAMP_MS))
        .then(pl.lit("bad_timestamp"))
        .when(~latency.is_between(0, MAX_LATENCY_MS))
        .then(pl.lit("bad_latency"))
        .when(pl.max_horizontal(texts).fill_null(0) > MAX_STRING_BYTES)
        .then(pl.lit("string_too_long"))
    )
