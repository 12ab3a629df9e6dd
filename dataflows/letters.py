"""Dead letters as an operator sees them, which of them are chosen, and what a replay may do with each.

Pure: knows no Kafka and no Redis. A line about a letter never holds its value, key, headers or an id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from features.pages import with_normal_pages
from schemas import catalogue
from schemas.codec import WriterSchema, decode
from schemas.framing import FramingError, unframe

REPLAY_HEADER = "dead-letter-replay"
"""Header of a replayed record: `<partition>:<offset>` of its dead letter."""

TOO_LATE = "too_late"

Outcome = Literal[
    "replayed",
    "left",
    "unreadable",
    "second_rejection",
    "too_late",
    "other_topic",
    "still_bad",
    "late",
    "watermark_unknown",
]
"""What becomes of a letter in a replay."""

FINAL: frozenset[Outcome] = frozenset({"replayed", "unreadable", "second_rejection", "too_late"})
"""Settled for good: no later replay looks at such a letter."""

WORDS: Mapping[Outcome, str] = {
    "replayed": "back in the original topic",
    "left": "not chosen, still open",
    "unreadable": "refused: no dead letter of ours",
    "second_rejection": "refused for good: it was replayed before and rejected again",
    "too_late": "refused for good: see --backfill",
    "other_topic": "refused: from another topic than EVENTS_TOPIC, or a partition that it does not have",
    "still_bad": "refused: the record would be rejected again as it is; --force sends it",
    "late": "refused: the record is beyond the lateness by now; --force sends it",
    "watermark_unknown": "refused: its partition has published no watermark, so it may be late; --force sends it",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes:
        partition: Its own partition and offset, in the dead-letter topic.
        kafka_ms: When it was written: when its record was rejected.
        size: Bytes of the rejected record's value; of the letter itself if that is unreadable.
        record: Its fields as in `schemas/dead_letter.avsc`; None if this is no dead letter of ours.
    """

    partition: int
    offset: int
    kafka_ms: int
    size: int
    record: dict[str, Any] | None

    @classmethod
    def read(cls, partition: int, offset: int, kafka_ms: int, value: bytes | None) -> Self:
        """Read a letter; whatever else lies in its topic is one without a record."""
        try:
            record = catalogue.read(catalogue.DEAD_LETTER, value or b"")
        except Exception:  # noqa: BLE001 - whatever fastavro makes of foreign bytes
            return cls(partition, offset, kafka_ms, len(value or b""), None)
        return cls(partition, offset, kafka_ms, len(record["value"] or b""), record)

    @property
    def place(self) -> str:
        """Its own `partition:offset`."""
        return f"{self.partition}:{self.offset}"

    @property
    def reason(self) -> str:
        """Why the record was rejected."""
        return _plain(self.record["reason"]) if self.record else "unreadable"

    @property
    def stage(self) -> str:
        """Where it was."""
        return _plain(self.record["stage"]) if self.record else "-"

    @property
    def is_second(self) -> bool:
        """Whether the record was a replay already."""
        return any(header["name"] == REPLAY_HEADER for header in self.record["headers"]) if self.record else False

    def line(self) -> str:
        """Return one line for `list`."""
        it = self.record
        origin = f"{_plain(it['topic'])}/{it['partition']}/{it['offset']}" if it else "-"
        return f"{self.place}  {moment(self.kafka_ms)}  {origin}  {self.reason}  {self.stage}  {self.size} B"


def _plain(text: str) -> str:
    return "".join(it if it.isprintable() and it != " " else "?" for it in text)


def moment(time_ms: int) -> str:
    """Return a time as people read it, UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; what is empty or None does not restrict.

    Attributes:
        since_ms: The earliest time of a letter; `until_ms` is the first that is too late.
        places: Own `partition:offset` of letters.
    """

    reason: str = ""
    stage: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    places: frozenset[str] = frozenset()

    def takes(self, letter: Letter) -> bool:
        """Say whether a letter is meant."""
        return (
            self.reason in {"", letter.reason}
            and self.stage in {"", letter.stage}
            and (self.since_ms is None or letter.kafka_ms >= self.since_ms)
            and (self.until_ms is None or letter.kafka_ms < self.until_ms)
            and (not self.places or letter.place in self.places)
        )


def schema_ids(letters: Sequence[Letter]) -> set[int]:
    """Return the schema ids that the letters' records name."""
    ids = set()
    for letter in letters:
        try:
            ids.add(unframe(letter.record["value"] or b"")[0] if letter.record else 0)
        except FramingError:
            continue
    return ids


def events_of(
    letters: Sequence[Letter], writers: Mapping[int, WriterSchema], now_ms: int | None = None
) -> pl.DataFrame:
    """Return the letters' records that are valid events, as decoding gives them, with pages in normal form.

    Args:
        letters: With records; `row` is the position in here.
        writers: Schemas by id.
        now_ms: What the records' Kafka time is taken to be; None for the one that they had.
    """
    records = [letter.record or {} for letter in letters]
    kafka_ms = np.array([record.get("timestamp", 0) if now_ms is None else now_ms for record in records], np.int64)
    return with_normal_pages(decode([record.get("value") for record in records], kafka_ms, writers).events)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a replay may do, as things stand when it begins.

    Attributes:
        topic: The topic that the flow reads, and how many partitions it has.
        watermarks: Its partitions' durable watermarks in ms, as far as they are known.
        lateness_ms: How far behind its watermark an event may be.
        now_ms: The Kafka time that a replayed record will have.
        selection: The letters that are meant.
        force: Whether to send also what the flow would reject again, as far as can be told from here.
    """

    topic: str
    partitions: int
    watermarks: Mapping[int, int]
    lateness_ms: int
    now_ms: int
    selection: Selection
    force: bool = False

    def judge(self, letters: Sequence[Letter], writers: Mapping[int, WriterSchema]) -> list[Outcome]:
        """Say of each letter what is to be done with it."""
        outcomes: list[Outcome] = [self._by_letter(letter) for letter in letters]
        if self.force:
            return outcomes
        to_send = [at for at, outcome in enumerate(outcomes) if outcome == "replayed"]
        events = events_of([letters[at] for at in to_send], writers, self.now_ms)
        times = dict(zip(events["row"].to_list(), events["timestamp"].to_list(), strict=True))
        for row, at in enumerate(to_send):
            outcomes[at] = self._by_record(letters[at], times.get(row))
        return outcomes

    def _by_letter(self, letter: Letter) -> Outcome:
        if letter.record is None:
            return "unreadable"
        if letter.is_second:
            return "second_rejection"
        if letter.reason == TOO_LATE:
            return "too_late"
        if not self.selection.takes(letter):
            return "left"
        ours = letter.record["topic"] == self.topic and 0 <= letter.record["partition"] < self.partitions
        return "replayed" if ours else "other_topic"

    def _by_record(self, letter: Letter, timestamp_ms: int | None) -> Outcome:
        """Judge a record that would be sent; the watermark is a little behind the flow's own, so a few slip through."""
        if timestamp_ms is None:
            return "still_bad"
        watermark_ms = self.watermarks.get(letter.record["partition"]) if letter.record else None
        if watermark_ms is None:
            return "watermark_unknown"
        return "late" if timestamp_ms < watermark_ms - self.lateness_ms else "replayed"
