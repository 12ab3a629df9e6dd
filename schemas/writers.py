"""What is prepared once for each schema id that records arrive with: whether and how its bodies are read."""

import io
from dataclasses import dataclass
from typing import Any, Self

import fastavro
import numpy as np

from schemas.container import ColumnReader
from schemas.records import RecordReader
from schemas.resolution import SchemaError, columns_of, event_codes, parse


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A writer's schema, prepared.

    Attributes:
        shortcoming: Why records of this schema cannot be read as BankingUIEvent; empty if they can.
        by_column: Reads many bodies in one call; None for shapes that the columnar reader does not have.
        by_record: Reads bodies one by one; None only with a shortcoming.
    """

    shortcoming: str
    by_column: ColumnReader | None = None
    by_record: RecordReader | None = None

    @property
    def columnar(self) -> bool:
        """Whether bodies are read as columns; else each costs some 6 us instead of 1."""
        return self.by_column is not None

    @classmethod
    def from_definition(cls, definition: Any) -> Self:
        """Prepare a schema; never raises: what is wrong with it becomes its `shortcoming`.

        The columnar reader is used only if it reads two generated records as the record reader does.
        """
        try:
            writer = parse(definition)
        except SchemaError as error:
            return cls(str(error))
        by_record = RecordReader.of(writer)
        columns = columns_of(writer)
        if columns is None:
            return cls("", None, by_record)
        by_column = ColumnReader.of(columns, event_codes(writer))
        return cls("", by_column if _agree(by_column, by_record) else None, by_record)


def _agree(by_column: ColumnReader, by_record: RecordReader) -> bool:
    """Say whether both readers read the same from a record with all nulls and from one without any."""
    bodies = [_body(by_record.writer, nulls=nulls) for nulls in (True, False)]
    rows = np.arange(len(bodies), dtype=np.int64)
    part = by_column.read(rows, bodies).part
    expected, _ = by_record.read(rows, bodies)
    return part is not None and all(
        part.columns[name].equals(column, check_dtypes=True) for name, column in expected.columns.items()
    )


def _body(writer: dict[str, Any], *, nulls: bool) -> bytes:
    stream = io.BytesIO()
    record = {field["name"]: _example(field["type"], nulls=nulls) for field in writer["fields"]}
    fastavro.schemaless_writer(stream, writer, record)
    return stream.getvalue()


_EXAMPLES = {"string": "texte\u0301", "bytes": b"\x00\xff", "boolean": True, "float": 0.5, "double": -0.25, "int": -3}


def _example(kind: Any, *, nulls: bool) -> Any:
    """Return a value of a type that `columns_of` takes."""
    if isinstance(kind, list):
        return None if nulls else _example(kind[1 - kind.index("null")], nulls=False)
    if isinstance(kind, dict):
        return kind["symbols"][-1] if kind["type"] == "enum" else _example(kind["type"], nulls=nulls)
    return _EXAMPLES.get(kind, 1_750_000_000_000)
