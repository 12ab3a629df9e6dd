"""Confluent framing: byte 0, the schema id in four bytes (big-endian), the Avro body; bodies are not looked at here."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 5
MAX_RECORD_BYTES = 64 * 1024
"""Longest value that is decoded, framing included."""

_HEADER = struct.Struct(">BI")


class FramingError(ValueError):
    """A value is not a Confluent frame."""


def frame(schema_id: int, body: bytes) -> bytes:
    """Put the header before an Avro body."""
    return _HEADER.pack(0, schema_id) + body


def unframe(value: bytes) -> tuple[int, bytes]:
    """Split a value into schema id and body.

    Raises:
        FramingError: If the value is shorter than a header or does not begin with byte 0.
    """
    if len(value) < HEADER_BYTES or value[0] != 0:
        msg = f"a framed value has at least {HEADER_BYTES} bytes and begins with 0, got {len(value)} bytes"
        raise FramingError(msg)
    return _HEADER.unpack_from(value)[1], value[HEADER_BYTES:]


@dataclass(frozen=True, slots=True)
class Frames:
    """The headers of many values; each row is in exactly one of the two.

    Attributes:
        rows: By schema id, int64 ascending rows.
        faults: By row, reason and error text of each value whose header cannot be used.
    """

    rows: dict[int, NDArray[np.int64]]
    faults: dict[int, tuple[str, str]]


def read_frames(values: Sequence[bytes | None]) -> Frames:
    """Read the headers of many values; no body is looked at and nothing raises."""
    present = [value or b"" for value in values]
    if present and not _fault(max(present, key=len)) and not _fault(present[0]):
        head = present[0][:HEADER_BYTES]
        if all([value.startswith(head) for value in present]):  # noqa: C419 - a list takes half the time
            return Frames({_HEADER.unpack(head)[1]: np.arange(len(present), dtype=np.int64)}, {})
    faults = {row: fault for row, value in enumerate(present) if (fault := _fault(value))}
    rows: dict[int, list[int]] = {}
    for row, value in enumerate(present):
        if row not in faults:
            rows.setdefault(_HEADER.unpack_from(value)[1], []).append(row)
    return Frames({schema_id: np.array(rows[schema_id], dtype=np.int64) for schema_id in sorted(rows)}, faults)


def _fault(value: bytes) -> tuple[str, str] | None:
    if not value:
        return "empty", "the record has no value"
    if len(value) < HEADER_BYTES:
        return "truncated_frame", f"a framed value has at least {HEADER_BYTES} bytes, got {len(value)}"
    if value[0] != 0:
        return "bad_magic", f"a framed value begins with byte 0, got {value[0]}"
    if len(value) > MAX_RECORD_BYTES:
        return "too_large", f"a record has at most {MAX_RECORD_BYTES} bytes, got {len(value)}"
    return None
