"""The oracle: replays an input topic record by record in plain Python and writes what the service must have written.

`python -m tests.crash.oracle --bootstrap A --topic T --model-dir D --out F.json`. It is a program of its own that
shares no code with the service (no Bytewax, no Polars, nothing of our packages): the rules are those of
`tests/reference.py`. It must never look at anything that the service wrote.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tests.crash.fixed_keys import answers
from tests.crash.plain_events import EventReader, RefusedError
from tests.crash.plain_model import PlainModel
from tests.crash.reading import read_partition, topic_partitions
from tests.reference import (
    ReferenceAdmission,
    ReferencePageWindows,
    ReferenceRow,
    ReferenceSessions,
)
from tests.reference_flags import ReferenceFlags

LEVELS = (("review", 0.8), ("block", 0.95))
OUTCOMES = ("scored", "duplicate", "late", "dead")


@dataclass(slots=True)
class Expected:
    """What an input topic must lead to.

    Attributes:
        outcomes: By partition (as text), how many records ended where, and `consumed`, all of them.
        counts: By page and minute (UTC, as the service names it), how many events.
        vectors: By session its newest `features`, `score` and `level`, and the `partition` and `offset` of its last
            admitted event.
        flags: By flag id, [level, partition, offset, raw score, score].
        letters: By `partition:offset`, [reason, SHA-256 of the value].
    """

    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    vectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    flags: dict[str, list[Any]] = field(default_factory=dict)
    letters: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; Python's floats come back to the bit."""
        return cls(**json.loads(file.read_text()))

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(asdict(self)))


def digest(value: bytes | None) -> str:
    """Name the bytes of a value."""
    return hashlib.sha256(value or b"").hexdigest()[:16]


def minute_name(minute_ms: int) -> str:
    """Name a minute as the service does: `2025-06-10T05:04:00`."""
    return datetime.fromtimestamp(minute_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class PartitionReplay:
    """Replays one partition.

    Args:
        partition: Its number.
        reader: Of the values.
        model: Of the scores.
        expected: Where to add what it leads to.
        with_keys: Whether Redis holds the keys of `tests.crash.fixed_keys`; else it holds none.
    """

    def __init__(
        self, partition: int, reader: EventReader, model: PlainModel, expected: Expected, *, with_keys: bool = False
    ) -> None:
        self._partition = partition
        self._reader = reader
        self._model = model
        self._expected = expected
        self._with_keys = with_keys
        self._outcomes: Counter[str] = Counter()
        self._admission = ReferenceAdmission()
        self._windows = ReferencePageWindows()
        self._sessions = ReferenceSessions()
        self._flags = ReferenceFlags(LEVELS)

    def take(self, offset: int, kafka_ms: int, value: bytes | None) -> None:
        """Replay the next record."""
        try:
            record = self._reader.read(value, kafka_ms)
        except RefusedError as refused:
            self._outcomes["dead"] += 1
            self._expected.letters[f"{self._partition}:{offset}"] = [str(refused), digest(value)]
            return
        known = answers(record) if self._with_keys else {}
        row = ReferenceRow.from_record({**record, **known, "offset": offset})
        verdict = self._admission.judge(row)
        self._outcomes["scored" if verdict == "admitted" else verdict] += 1
        if verdict == "late":
            self._expected.letters[f"{self._partition}:{offset}"] = ["too_late", digest(value)]
        if verdict == "admitted":
            self._admit(row)

    def _admit(self, row: ReferenceRow) -> None:
        page, minute_ms = self._windows.update(row)
        minutes = self._expected.counts.setdefault(page, {})
        minutes[minute_name(minute_ms)] = minutes.get(minute_name(minute_ms), 0) + 1
        features = self._sessions.update(row)
        raw = self._model.raw(features)
        score = self._model.score(raw)
        self._expected.vectors[row.session_id] = {
            "features": features,
            "score": score,
            "level": level_of(score),
            "partition": self._partition,
            "offset": row.offset,
        }
        instance = self._sessions.instance(row.session_id)
        flag = instance and self._flags.update(row.session_id, instance.first, score)
        if flag:
            self._expected.flags[flag.flag_id] = [flag.level, self._partition, row.offset, raw, score]

    def end(self) -> None:
        """Note the outcomes: every record is in exactly one."""
        counts = {name: self._outcomes[name] for name in OUTCOMES}
        self._expected.outcomes[str(self._partition)] = {**counts, "consumed": sum(counts.values())}


def level_of(score: float) -> str:
    """Return the highest level that a score is strictly above, empty for none."""
    above = [name for name, threshold in LEVELS if score > threshold]
    return above[-1] if above else ""


def replay(
    partitions: Mapping[int, Iterable[tuple[int, int, bytes | None]]],
    model: PlainModel,
    definitions: Mapping[int, Any] | None = None,
    *,
    with_keys: bool = False,
) -> Expected:
    """Replay partitions.

    Args:
        partitions: By number, (offset, Kafka timestamp in ms, value) of every record in offset order.
        model: Of the scores.
        definitions: As for `EventReader`.
        with_keys: As for `PartitionReplay`.
    """
    expected = Expected()
    reader = EventReader(definitions)
    for partition, records in partitions.items():
        one = PartitionReplay(partition, reader, model, expected, with_keys=with_keys)
        for offset, kafka_ms, value in records:
            one.take(offset, kafka_ms, value)
        one.end()
    return expected


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a topic and write the file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.oracle", description="What a topic must lead to.")
    parser.add_argument("--bootstrap", required=True, metavar="ADDRESS")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--model-dir", required=True, type=Path)
    parser.add_argument("--writers", type=Path, help="JSON file with the writers' schemas by id")
    parser.add_argument("--with-keys", action="store_true", help="Redis holds the keys of tests.crash.fixed_keys")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args(argv)
    definitions = None
    if arguments.writers is not None:
        definitions = {int(number): schema for number, schema in json.loads(arguments.writers.read_text()).items()}
    partitions = {
        partition: (
            (message.offset() or 0, message.timestamp()[1], message.value())
            for message in read_partition(arguments.bootstrap, arguments.topic, partition)
        )
        for partition in topic_partitions(arguments.bootstrap, arguments.topic)
    }
    model = PlainModel.current(arguments.model_dir)
    replay(partitions, model, definitions, with_keys=arguments.with_keys).save(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
