"""Named NumPy columns as versioned bytes: the form in which every piece of state is stored.

Safe to load whoever wrote it: a JSON header and raw column bytes, never a pickle. Columns are found by name, so
a later version may drop or add some; it must never give a name another meaning.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"CSF1"
_LENGTH_BYTES = 4
_DTYPES = frozenset({"|b1", "|u1", "|i1", "<u2", "<i4", "<u4", "<i8", "<u8", "<f8"})
_WIDE, _NARROW = frozenset({"<i8", "<u8"}), ("|u1", "<u2", "<u4")


class SnapshotError(ValueError):
    """The bytes are no snapshot of the kind that was asked for."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `unpack` found: the columns by name, and the scalars beside them."""

    columns: dict[str, NDArray[Any]]
    scalars: dict[str, Any]


def pack(kind: str, columns: Mapping[str, NDArray[Any]], scalars: Mapping[str, Any] | None = None) -> bytes:
    """Write columns and scalars as bytes that `unpack` reads on any machine.

    Args:
        kind: What this is the state of, for example ``admission``; checked when it is read.
        columns: Arrays of any shape; little-endian integers, floats or booleans.
        scalars: JSON values that belong to the whole, such as a watermark.
    """
    described, bodies = [], []
    for name, column in columns.items():
        narrowed, base = _narrowed(column)
        described.append([name, column.dtype.str, list(column.shape), narrowed.dtype.str, base])
        bodies.append(narrowed.tobytes())
    header = {"kind": kind, "columns": described, "scalars": dict(scalars or {})}
    head = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([MAGIC, len(head).to_bytes(_LENGTH_BYTES, "little"), head, *bodies])


def _narrowed(column: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return a column of wide integers as what it is above its smallest, in as few bytes a value as that takes.

    The engine takes some 5 ms for each MB of a snapshot, on the thread that also reads: half the bytes, half the stall.
    """
    if column.dtype.str not in _WIDE or not column.size:
        return column, 0
    base, largest = int(column.min()), int(column.max())
    narrow = next((dtype for dtype in _NARROW if largest - base <= np.iinfo(dtype).max), None)
    return (column, 0) if narrow is None else ((column - column.dtype.type(base)).astype(narrow), base)


def _widened(stored: NDArray[Any], dtype: str, base: int) -> NDArray[Any]:
    """Undo `_narrowed`; the result is a copy."""
    wide = stored.astype(dtype)
    if base:
        wide += wide.dtype.type(base)
    return wide


def kind_of(stored: bytes) -> str:
    """Return the kind that `pack` was given.

    Raises:
        SnapshotError: If the bytes are something else.
    """
    header, _ = _read_header("some kind", stored)
    return str(header.get("kind"))


def unpack(kind: str, stored: bytes) -> Snapshot:
    """Read what `pack` wrote. The arrays are copies and may be written to.

    Raises:
        SnapshotError: If the bytes are something else, of another kind, or cut short.
    """
    header, body = _header(kind, stored)
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for name, dtype, shape, *narrowed in header["columns"]:
        stored_as, base = narrowed or (dtype, 0)  # 0.1.0 stored every column as it is
        if not {dtype, stored_as} <= _DTYPES:
            msg = f"snapshot of {kind}: column {name} has dtype {dtype!r}, expected one of {sorted(_DTYPES)}"
            raise SnapshotError(msg)
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(stored_as).itemsize
        if at + size > len(body):
            msg = f"snapshot of {kind}: column {name} needs {size} bytes, {len(body) - at} are left"
            raise SnapshotError(msg)
        stored_column = np.frombuffer(body[at : at + size], dtype=stored_as).reshape(shape)
        columns[name] = _widened(stored_column, dtype, base)
        at += size
    return Snapshot(columns, header["scalars"])


def _header(kind: str, stored: bytes) -> tuple[dict[str, Any], memoryview]:
    header, body = _read_header(kind, stored)
    if header.get("kind") != kind:
        msg = f"snapshot: expected one of {kind}, got one of {header.get('kind')}"
        raise SnapshotError(msg)
    return header, body


def _read_header(kind: str, stored: bytes) -> tuple[dict[str, Any], memoryview]:
    start = len(MAGIC) + _LENGTH_BYTES
    if stored[: len(MAGIC)] != MAGIC:
        msg = f"snapshot of {kind}: expected it to begin with {MAGIC!r}, got {stored[: len(MAGIC)]!r}"
        raise SnapshotError(msg)
    length = int.from_bytes(stored[len(MAGIC) : start], "little")
    try:
        header: dict[str, Any] = json.loads(stored[start : start + length])
    except ValueError as error:
        msg = f"snapshot of {kind}: its header of {length} bytes is not JSON"
        raise SnapshotError(msg) from error
    return header, memoryview(stored)[start + length :]


def pack_strings(values: list[str]) -> dict[str, NDArray[Any]]:
    """Write strings as two columns, `text` (UTF-8 bytes end to end) and `text_bytes` (length of each)."""
    encoded = [value.encode() for value in values]
    return {
        "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "text_bytes": np.array([len(value) for value in encoded], dtype=np.int32),
    }


def unpack_strings(columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """Read back what `pack_strings` wrote."""
    text = columns["text"].tobytes()
    ends = np.cumsum(columns["text_bytes"]).tolist()
    return [text[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=False)]
