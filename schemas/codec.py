"""Bytes to columns: what a poll brought becomes one frame of valid events and a reject for each record that is none.

Pure: no registry, no clock; the caller brings the writers' schemas. Never raises for what is in a record. How records
are cut into calls changes no row, no reason and no value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.container import ColumnReader
from schemas.events import EVENT_FRAME
from schemas.framing import HEADER_BYTES, read_frames
from schemas.parts import Part, Reject
from schemas.records import RecordReader
from schemas.validation import validate
from schemas.writers import WriterSchema

__all__ = ["Decoded", "Reject", "WriterSchema", "decode"]

_FEW = 32
"""So few bodies that reading them one by one costs less than a columnar call."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a call's records: each is in exactly one of the two.

    Attributes:
        events: Valid events, columns `EVENT_FRAME`, ascending by row.
        rejects: The others, ascending by row.
        by_record: Records whose writer's schema cannot be read as columns: right, but slow.
    """

    events: pl.DataFrame
    rejects: list[Reject]
    by_record: int = 0


def decode(values: Sequence[bytes | None], kafka_ms: NDArray[np.int64], writers: Mapping[int, WriterSchema]) -> Decoded:
    """Decode and validate records.

    Args:
        values: The records' values, in Confluent framing.
        kafka_ms: int64, the records' Kafka timestamps in milliseconds.
        writers: Prepared schemas by id; a record with another id is rejected as `unknown_schema`.
    """
    frames = read_frames(values)
    rejects = [Reject(row, reason, "decode", error) for row, (reason, error) in frames.faults.items()]
    good: list[pl.DataFrame] = []
    by_record = 0
    for schema_id, rows in frames.rows.items():
        writer = writers.get(schema_id)
        by_record += len(rows) if writer is not None and writer.by_record and not writer.columnar else 0
        parts, unread = _read_group(values, rows, schema_id, writer)
        rejects += unread
        for part in parts:
            events, invalid = validate(part, kafka_ms)
            good.append(events)
            rejects += invalid
    return Decoded(_in_order(good), sorted(rejects, key=lambda reject: reject.row), by_record)


def _in_order(frames: list[pl.DataFrame]) -> pl.DataFrame:
    if len(frames) == 1:
        return frames[0]
    return pl.concat([EVENT_FRAME.to_frame(), *frames]).sort("row")


def _read_group(
    values: Sequence[bytes | None], rows: NDArray[np.int64], schema_id: int, writer: WriterSchema | None
) -> tuple[list[Part], list[Reject]]:
    """Read the records of one schema id."""
    if writer is None:
        return [], _refused(rows, "unknown_schema", f"nobody knows schema id {schema_id}")
    if writer.by_record is None:
        return [], _refused(rows, "wrong_schema", f"schema id {schema_id}: {writer.shortcoming}")
    bodies = [value[HEADER_BYTES:] for row in rows.tolist() if (value := values[row])]
    reader = _GroupReader(writer.by_column, writer.by_record)
    reader.read(rows, bodies)
    return reader.parts, reader.rejects


def _refused(rows: NDArray[np.int64], reason: str, error: str) -> list[Reject]:
    return [Reject(row, reason, "decode", error) for row in rows.tolist()]


@dataclass(slots=True)
class _GroupReader:
    """Reads bodies as columns where it can, isolates the others and reads them one by one."""

    by_column: ColumnReader | None
    by_record: RecordReader
    parts: list[Part] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def read(self, rows: NDArray[np.int64], bodies: list[bytes]) -> None:
        """Read bodies; `rows` are their positions in the call's input."""
        if self.by_column is None or len(bodies) <= _FEW:
            self._read_one_by_one(rows, bodies)
            return
        reading = self.by_column.read(rows, bodies)
        if reading.part is not None:
            self.parts.append(reading.part)
        elif reading.sound.all():  # the columnar reader failed on its own account and cannot say where
            self._read_one_by_one(rows, bodies)
        else:
            self._read_one_by_one(rows[~reading.sound], list(compress(bodies, ~reading.sound)))
            if reading.sound.any():
                self.read(rows[reading.sound], list(compress(bodies, reading.sound)))

    def _read_one_by_one(self, rows: NDArray[np.int64], bodies: list[bytes]) -> None:
        part, rejects = self.by_record.read(rows, bodies)
        self.parts.append(part)
        self.rejects += rejects
