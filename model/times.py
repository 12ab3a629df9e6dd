"""Times as people store them, as whole milliseconds since 1970 (UTC)."""

from datetime import UTC, datetime, timedelta

import polars as pl

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def as_ms(column: pl.Series) -> pl.Series:
    """Read times: whole numbers of ms, points in time, or texts with one of these (ISO 8601, UTC if no zone is named).

    Empty texts are null.

    Raises:
        ValueError: If a text is no time, or the column holds something else.
    """
    if column.dtype.is_integer() or column.dtype == pl.Null:
        return column.cast(pl.Int64)
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        return column.dt.epoch("ms")
    if column.dtype != pl.String:
        msg = f"must be ms, times or ISO 8601 texts, got {column.dtype}"
        raise ValueError(msg)
    texts = column.str.strip_chars().replace("", None)
    numbers = texts.cast(pl.Int64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers
    return pl.Series(column.name, [None if text is None else _ms_of(text) for text in texts.to_list()], dtype=pl.Int64)


def _ms_of(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        msg = f"must be ms, times or ISO 8601 texts, got {text[:40]!r}"
        raise ValueError(msg) from None
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MS
