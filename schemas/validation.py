"""Checks on the values of events that could be read, many at once. Refuses a row, never a batch; changes only `ip`."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.addresses import MAX_ADDRESS_BYTES, normal_addresses
from schemas.events import EVENT_FRAME
from schemas.parts import EVENT_COLUMNS, Part, Reject

MAX_ID_BYTES = 128
MAX_STRING_BYTES = 4 * 1024
MAX_TIMESTAMP_MS = 4_102_444_800_000
"""The year 2100; later ones are microseconds or worse."""
MAX_AHEAD_MS = 300_000
"""How far an event's time may be ahead of its record's Kafka time."""
MAX_LATENCY_MS = 600_000

IDS = ("event_id", "session_id", "user_id")
_CONTROL_CHARACTER = r"[\x00-\x1f\x7f]"

Mask = NDArray[np.bool_]


def validate(part: Part, kafka_ms: NDArray[np.int64]) -> tuple[pl.DataFrame, list[Reject]]:
    """Check every row of a part.

    Args:
        part: The events.
        kafka_ms: int64, Kafka's timestamp of every row of the call's input (not only this part's).

    Returns:
        The good rows as an event frame, with `ip` in normal form, and a reject for each of the others; the first
        failing check gives the reason.
    """
    refused = np.zeros(len(part.rows), dtype=np.bool_)
    rejects: list[Reject] = []
    for failing, reason, error in _checks(part, kafka_ms):
        if failing.any():
            rows = part.rows[failing & ~refused].tolist()
            rejects.extend(Reject(row, reason, "validate", error) for row in rows)
            refused |= failing
    return _good(part, refused), rejects


def _checks(part: Part, kafka_ms: NDArray[np.int64]) -> Iterator[tuple[Mask, str, str]]:
    """Yield failing rows, reason and error text of each check, in the order in which reasons count."""
    ids = [part.sizes[name] for name in IDS]
    timestamp = part.columns["timestamp"].to_numpy()
    latency = part.columns["latency_ms"].to_numpy()
    largest = np.maximum.reduce(list(part.sizes.values()))
    yield np.minimum.reduce(ids) == 0, "missing_id", "event_id, session_id and user_id must not be empty"
    yield np.maximum.reduce(ids) > MAX_ID_BYTES, "id_too_long", f"an id has at most {MAX_ID_BYTES} bytes"
    yield _outside(timestamp, 1, MAX_TIMESTAMP_MS), "bad_timestamp", "timestamp must be in ms, after 1970, up to 2100"
    ahead = timestamp > kafka_ms[part.rows] + MAX_AHEAD_MS
    yield ahead, "future", f"timestamp is more than {MAX_AHEAD_MS} ms ahead of the record's Kafka timestamp"
    yield _outside(latency, 0, MAX_LATENCY_MS), "bad_latency", f"latency_ms must be 0 to {MAX_LATENCY_MS}"
    yield largest > MAX_STRING_BYTES, "string_too_long", f"a string has at most {MAX_STRING_BYTES} bytes"
    yield _ids_with_controls(part), "bad_id", "an id must not hold control characters"


def _outside(values: NDArray[np.int64], least: int, most: int) -> Mask:
    outside: Mask = (values < least) | (values > most)
    return outside


def _ids_with_controls(part: Part) -> Mask:
    if not part.may_hold_controls:
        return np.zeros(len(part.rows), dtype=np.bool_)
    ids = pl.DataFrame([part.columns[name] for name in IDS])
    bad = ids.select(pl.any_horizontal(pl.col(IDS).str.contains(_CONTROL_CHARACTER)).alias("bad"))
    return bad["bad"].to_numpy()


def _good(part: Part, refused: Mask) -> pl.DataFrame:
    columns = part.columns | {"ip": _normal_addresses(part)}
    rows = pl.Series("row", part.rows.astype(np.uint32))
    frame = pl.DataFrame([rows, *(columns[name] for name in EVENT_COLUMNS)])
    return frame.filter(pl.Series(~refused)) if refused.any() else frame


def _normal_addresses(part: Part) -> pl.Series:
    received = part.columns["ip"]
    texts = received.to_list()
    for place in np.flatnonzero(part.sizes["ip"] > MAX_ADDRESS_BYTES).tolist():
        texts[place] = ""
    normal = normal_addresses(texts)
    return received if normal == texts else pl.Series("ip", normal, dtype=EVENT_FRAME["ip"])
