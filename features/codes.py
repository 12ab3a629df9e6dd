"""Stable 64-bit codes of strings: state carries these, never the strings and never an order of arrival.

A code is XXH64 (seed 0) of the UTF-8 bytes, the same on every machine and in every version, because codes lie in
snapshots. 0 is kept for "not known": null and the empty string.
"""

import numpy as np
import polars as pl
import polars_hash as plh
from numpy.typing import NDArray

_OF_EMPTY = np.uint64(0xEF46DB3751D8E999)
"""XXH64 of the empty string."""

_MULTIPLY = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


CODED = ("session_id", "event_id", "page", "device_fingerprint", "ip")
"""The columns of an event frame that state knows by code."""


def with_codes(events: pl.DataFrame) -> pl.DataFrame:
    """Add the codes of every coded column, so that one call computes those of all partitions and of all steps."""
    codes = string_codes(events, *CODED)
    return events.hstack([pl.Series(_column_of(name), code) for name, code in zip(CODED, codes, strict=True)])


def string_codes(frame: pl.DataFrame, *names: str) -> list[NDArray[np.uint64]]:
    """Return the codes of the named String columns, one uint64 array a column, in the frame's row order.

    Those that `with_codes` has added are taken, the others computed.
    """
    if all(_column_of(name) in frame.columns for name in names):
        return [frame[_column_of(name)].to_numpy() for name in names]
    # One long column: a call of the hash costs more than what it hashes in a small batch.
    texts = pl.concat([frame[name].alias("text") for name in names]).to_frame()
    coded = texts.select(plh.col("text").nchash.xxhash64().fill_null(_OF_EMPTY))["text"]
    return np.split(_known(coded.to_numpy()), len(names))


def _column_of(name: str) -> str:
    return f"{name}_code"


def _known(code: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.where(code == _OF_EMPTY, np.uint64(0), np.maximum(code, np.uint64(1)))


def mixed(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix two codes into one; their order matters. The finalizer is that of SplitMix64 (Steele et al. 2014)."""
    code = left * _MULTIPLY[0] + right
    code = (code ^ (code >> np.uint64(30))) * _MULTIPLY[1]
    code = (code ^ (code >> np.uint64(27))) * _MULTIPLY[2]
    return code ^ (code >> np.uint64(31))
