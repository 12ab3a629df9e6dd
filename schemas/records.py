"""Read Avro bodies one by one with fastavro: the judge of every body that the columnar reader is not to be given."""

import io
import re
from dataclasses import dataclass
from typing import Any, Self, cast

import fastavro
import numpy as np
import polars as pl
from fastavro.schema import to_parsing_canonical_form
from numpy.typing import NDArray

from schemas.events import EVENT_FRAME, EVENT_TYPE_CODES
from schemas.parts import EVENT_COLUMNS, STRING_COLUMNS, Part, Reject
from schemas.resolution import READER

_READER: dict[str, Any] = cast("dict[str, Any]", fastavro.parse_schema(READER))
_CANONICAL = to_parsing_canonical_form(_READER)

_FRAME = {name: EVENT_FRAME[name] for name in EVENT_COLUMNS}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Record = dict[str, Any]


class BodyError(ValueError):
    """A body is not exactly one record of its writer's schema; `reason` is the reject's reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads bodies of one writer schema record by record.

    Attributes:
        writer: The writer's schema, bare and parsed.
        reader: Ours, None where the writer's says the same: resolving takes longer than reading.
    """

    writer: dict[str, Any]
    reader: dict[str, Any] | None

    @classmethod
    def of(cls, writer: dict[str, Any]) -> Self:
        """Build a reader of a writer schema, bare and parsed."""
        return cls(writer, None if to_parsing_canonical_form(writer) == _CANONICAL else _READER)

    def read(self, rows: NDArray[np.int64], bodies: list[bytes]) -> tuple[Part, list[Reject]]:
        """Read what can be read; `rows` are the bodies' positions in the call's input."""
        good: list[int] = []
        records: list[Record] = []
        rejects: list[Reject] = []
        for row, body in zip(rows.tolist(), bodies, strict=True):
            try:
                records.append(self.read_one(body))
                good.append(row)
            except BodyError as error:
                rejects.append(Reject(row, error.reason, "decode", str(error)))
        return _part(np.array(good, dtype=np.int64), records), rejects

    def read_one(self, body: bytes) -> Record:
        """Read one body, resolved to BankingUIEvent v1.

        Raises:
            BodyError: If the body is not one record and nothing else.
        """
        stream = io.BytesIO(body)
        try:
            record = cast("Record", fastavro.schemaless_reader(stream, self.writer, self.reader))
        except Exception as error:
            msg = f"{len(body)} bytes are no record of the writer's schema ({type(error).__name__})"
            reason = "undecodable"
            raise BodyError(reason, msg) from error
        if stream.tell() != len(body):
            msg = f"the record ends after {stream.tell()} of {len(body)} bytes"
            reason = "trailing_bytes"
            raise BodyError(reason, msg)
        return record


def _part(rows: NDArray[np.int64], records: list[Record]) -> Part:
    for record in records:
        record["event_type"] = EVENT_TYPE_CODES[record["event_type"]]
    columns = pl.from_dicts(records, _FRAME) if records else pl.DataFrame(schema=_FRAME)
    sizes = {name: np.array([_size(record[name]) for record in records], np.int64) for name in STRING_COLUMNS}
    controls = any(_CONTROL.search(record[name]) for record in records for name in STRING_COLUMNS if record[name])
    return Part(rows, columns.to_dict(), sizes, may_hold_controls=controls)


def _size(text: str | None) -> int:
    return len(text.encode()) if text else 0
