"""`python -m dataflows.export TOPIC --out DIR`: the events of a topic as Parquet files, to train and evaluate on.

Reads up to where the topic ends when it starts, a slice at a time, and decodes as the flow does.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from confluent_kafka import Message

from dataflows.connectors.registry import Writers
from dataflows.connectors.topic_reader import TopicReader, TopicReaderError
from dataflows.settings import Settings, SettingsError
from model.command_line import argument_parser, say
from model.times import as_ms
from observability.health import Readiness
from schemas.codec import decode
from schemas.events import with_type_names
from schemas.framing import HEADER_BYTES

PROG = "python -m dataflows.export"
_REGISTRY_SECONDS, _TRY_SECONDS = 30.0, 0.02
_EVER = (0, 2**62)


class ExportError(RuntimeError):
    """The export cannot go on; the message is one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 where it could not be done, 2 for bad arguments or settings."""
    given = _arguments(argv)
    try:
        settings = Settings.from_env(os.environ)
        given.out.mkdir(parents=True, exist_ok=True)
        with TopicReader(settings, given.topic) as reader:
            told = export(
                reader, Writers(settings.schema_registry_url, Readiness()), given.out, (given.begin, given.end)
            )
    except SettingsError as error:
        return _fail(error, 2)
    except (TopicReaderError, ExportError, OSError) as error:
        return _fail(error, 1)
    say(json.dumps(told))
    return 0


def export(reader: TopicReader, writers: Writers, folder: Path, span_ms: tuple[int, int] = _EVER) -> dict[str, object]:
    """Write the events of a topic; return how many there were, and what could not be read, by reason.

    Args:
        reader: Of the topic.
        writers: Gives the schemas.
        folder: Where the files go, one a slice.
        span_ms: Event times to keep, the second one not included.
    """
    events, dead = 0, Counter[str]()
    extents = {partition: reader.extent(partition) for partition in reader.partitions()}
    for partition, (first, end) in extents.items():
        for records in reader.read(partition, first, end):
            frame, rejected = decoded(records, writers)
            dead.update(rejected)
            kept = frame.filter(pl.col("timestamp").is_between(*span_ms, closed="left"))
            events += kept.height
            if kept.height:
                with_type_names(kept).write_parquet(folder / f"{partition:05d}-{records[0].offset():020d}.parquet")
    return {"events": events, "dead": dict(dead)}


def decoded(records: Sequence[Message], writers: Writers) -> tuple[pl.DataFrame, list[str]]:
    """Decode records of one partition as the flow does.

    Returns:
        An event frame without `row`, with `partition`, `offset` and `kafka_ms`; and why the others are none.

    Raises:
        ExportError: If the registry does not answer.
    """
    values = [record.value() for record in records]
    for schema_id in {int.from_bytes(value[1:HEADER_BYTES]) for value in values if value and len(value) > HEADER_BYTES}:
        _wait_for(schema_id, writers)
    kafka_ms = np.array([record.timestamp()[1] for record in records], dtype=np.int64)
    found = decode(values, kafka_ms, writers.known)
    rows = found.events["row"].to_numpy()
    offsets = np.array([record.offset() for record in records], dtype=np.int64)
    frame = found.events.drop("row").with_columns(
        pl.lit(records[0].partition(), dtype=pl.Int32).alias("partition"),
        pl.Series("offset", offsets[rows]),
        pl.Series("kafka_ms", kafka_ms[rows]),
    )
    return frame, [reject.reason for reject in found.rejects]


def _wait_for(schema_id: int, writers: Writers) -> None:
    """Wait until a schema is known, or known to be absent."""
    limit = time.monotonic() + _REGISTRY_SECONDS
    while writers.find(schema_id) == "waiting":
        if time.monotonic() > limit:
            msg = f"the schema registry gave no answer for schema {schema_id} in {_REGISTRY_SECONDS:g} s"
            raise ExportError(msg)
        time.sleep(_TRY_SECONDS)


def _fail(error: Exception, code: int) -> int:
    sys.stderr.write(f"export: {error}\n")
    return code


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Write the events of a topic as Parquet files.")
    parser.add_argument("topic", help="its name")
    parser.add_argument("--out", type=Path, required=True, help="directory of the files")
    parser.add_argument("--from", dest="begin", type=_moment, default=_EVER[0], help="event time, ISO 8601 or ms")
    parser.add_argument("--to", dest="end", type=_moment, default=_EVER[1], help="event time, not included")
    return parser.parse_args(argv)


def _moment(text: str) -> int:
    try:
        return int(as_ms(pl.Series([text])).item())
    except (ValueError, TypeError):
        msg = f"must be an ISO 8601 time or ms, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


if __name__ == "__main__":
    sys.exit(main())
