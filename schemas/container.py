"""Many Avro bodies of one writer schema in one in-memory object container, read by Polars in one call.

To each body an integer is appended, a random nonce + i, as the value of a last field that the schema is extended by. If
every row comes back with exactly its own, every body was as long as the reader thought. Never raises for bad bytes.
"""

import io
import json
import secrets
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.events import EVENT_FRAME
from schemas.parts import EVENT_COLUMNS, STRING_COLUMNS, Part
from schemas.walk import TAIL_BYTES, Column, Walk, walk

_SYNC = b"clickstreamfraud"
_COUNTER_BITS = 28
"""Low bits of the zigzag nonce that count rows; the bits above are random."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of a call.

    Attributes:
        sound: bool, whether each body is sound, its text included if the reader refused the block.
        part: The events, or None if a body is not sound or the reader refused the block.
    """

    sound: NDArray[np.bool_]
    part: Part | None


@dataclass(frozen=True, slots=True)
class ColumnReader:
    """Reads bodies of one writer schema column by column.

    Attributes:
        columns: The writer's fields in order, for the walk.
        preamble: The container up to its first block.
        nonce_name: The name of the appended field.
        event_codes: uint8, this reader's event code of each of the writer's symbols.
    """

    columns: tuple[Column, ...]
    preamble: bytes
    nonce_name: str
    event_codes: NDArray[np.uint8]

    @classmethod
    def of(cls, fields: list[tuple[Column, Any]], event_codes: NDArray[np.uint8]) -> Self:
        """Build a reader.

        Args:
            fields: Each of the writer's fields and its type in the container.
            event_codes: uint8, this reader's event code of each of the writer's symbols.
        """
        name = "nonce"
        while any(column.name == name for column, _ in fields):
            name += "_"
        types = [*((column.name, kind) for column, kind in fields), (name, "long")]
        return cls(tuple(column for column, _ in fields), _preamble(types), name, event_codes)

    def read(self, rows: NDArray[np.int64], bodies: list[bytes]) -> Reading:
        """Walk and read bodies, at least one and at most 2**27; `rows` are their positions in the call's input."""
        nonce, tails = _tails(len(bodies))
        sizes = np.fromiter(map(len, bodies), dtype=np.int64, count=len(bodies))
        ends = np.cumsum(sizes + TAIL_BYTES) - TAIL_BYTES
        opening = self.preamble + _long(len(bodies)) + _long(int(ends[-1]) + TAIL_BYTES)
        pieces = [opening] + 2 * bodies + [_SYNC]
        pieces[1:-1:2], pieces[2:-1:2] = bodies, tails
        container = b"".join(pieces)
        ends += len(opening)
        found = walk(container, ends - sizes, ends, self.columns)
        if not found.sound.all():
            return Reading(found.sound, None)
        frame = _read(container)
        if frame is None or not self._is_aligned(frame, nonce, len(bodies)):
            return Reading(_has_good_text(container, found), None)
        return Reading(found.sound, self._part(rows, frame, found))

    def _is_aligned(self, frame: pl.DataFrame, nonce: int, count: int) -> bool:
        expected = np.arange(nonce, nonce + count, dtype=np.int64)
        return bool(np.array_equal(frame[self.nonce_name].to_numpy(), expected))

    def _part(self, rows: NDArray[np.int64], frame: pl.DataFrame, found: Walk) -> Part:
        types = self.event_codes[frame["event_type"].to_numpy()]
        columns = {name: frame[name] if name in frame.columns else _nulls(name, len(rows)) for name in EVENT_COLUMNS}
        columns["event_type"] = pl.Series("event_type", types)
        none = np.zeros(len(rows), dtype=np.int64)
        sizes = {name: found.sizes.get(name, none) for name in STRING_COLUMNS}
        return Part(rows, columns, sizes, found.may_hold_controls)


def _nulls(name: str, count: int) -> pl.Series:
    return pl.Series(name, [None], dtype=EVENT_FRAME[name]).new_from_index(0, count)


def _read(container: bytes) -> pl.DataFrame | None:
    try:
        return pl.read_avro(io.BytesIO(container))
    except (Exception, pl.exceptions.PanicException):  # noqa: BLE001 - whatever the reader says, the records are read one by one
        return None


def _has_good_text(container: bytes, found: Walk) -> NDArray[np.bool_]:
    """Say of each body whether all of its text is UTF-8; a field of bytes may fail, which costs time only."""
    good = np.ones(len(found.sound), dtype=np.bool_)
    for name, sizes in found.sizes.items():
        starts = found.starts[name]
        spans = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        good &= np.array([_is_utf8(container[start:end]) for start, end in spans])
    return good


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def _tails(count: int) -> tuple[int, list[bytes]]:
    """Return a nonce and the Avro form of nonce + i for each row, `TAIL_BYTES` each, without control characters."""
    high = (2 << 33 | secrets.randbits(33)) << _COUNTER_BITS
    tails = np.empty((count, TAIL_BYTES), dtype=np.uint8)
    tails[:] = np.frombuffer(_varint(high), dtype=np.uint8)
    counter = 2 * np.arange(count, dtype=np.uint32)
    for place in range(_COUNTER_BITS // 7):
        tails[:, place] |= (counter >> np.uint32(7 * place) & np.uint32(0x7F)).astype(np.uint8)
    return high >> 1, tails.view(f"V{TAIL_BYTES}").ravel().tolist()


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 127:  # noqa: PLR2004 - seven bits a byte
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes([*octets, value])


def _long(value: int) -> bytes:
    """Return the Avro form of an integer that is not negative."""
    return _varint(2 * value)


def _text(value: bytes) -> bytes:
    return _long(len(value)) + value


def _preamble(types: list[tuple[str, Any]]) -> bytes:
    fields = [{"name": name, "type": kind} for name, kind in types]
    schema = json.dumps({"type": "record", "name": "Event", "fields": fields}).encode()
    metadata = _text(b"avro.schema") + _text(schema) + _text(b"avro.codec") + _text(b"null")
    return b"Obj\x01" + _long(2) + metadata + _long(0) + _SYNC
