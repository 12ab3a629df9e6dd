"""The checker: what the service wrote against what the oracle expects, as numbers of mistakes.

`check` is pure; `collect` reads Redis and the topics. Nothing is forgiven here: what may be missing after Redis has
lost its data is said by `Since`, and only that is left out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.crash.oracle import Expected, digest, minute_name
from tests.crash.plain_avro import read_ours
from tests.crash.reading import read_topic
from tests.reference import FEATURES

_SHOWN = 3


@dataclass(slots=True)
class Got:
    """What the service has written, and what it says of itself.

    Attributes:
        flags: Every record of the flags topic.
        letters: Every record of the dead-letter topic.
        counts: By page and minute, from Redis.
        vectors: By session the fields of its hash, from Redis.
        records: By partition and outcome, the service's own count of records.
        flagged_ms: When each flag was appended, Kafka's timestamps.
    """

    flags: list[dict[str, Any]] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    vectors: dict[str, dict[str, str]] = field(default_factory=dict)
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    flagged_ms: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Since:
    """What Redis had to have again after it had lost everything.

    Attributes:
        minute_ms: Minutes from here on were open in every partition.
        offsets: By partition: sessions with an event from here on have been written again.
    """

    minute_ms: int
    offsets: dict[int, int]


@dataclass(slots=True)
class Verdict:
    """How many mistakes of each kind, and some of them in words."""

    lost: int = 0
    phantom: int = 0
    wrong_counts: int = 0
    wrong_vectors: int = 0
    wrong_decisions: int = 0
    wrong_letters: int = 0
    conservation_wrong: int = 0
    raw_repeats: int = 0
    letter_repeats: int = 0
    shown: list[str] = field(default_factory=list)

    @property
    def mistakes(self) -> int:
        """How many in all; repeats are none by themselves."""
        wrong = self.wrong_counts + self.wrong_vectors + self.wrong_decisions + self.wrong_letters
        return self.lost + self.phantom + wrong + self.conservation_wrong

    def note(self, kind: str, wrong: Iterable[str]) -> int:
        """Show some mistakes; return how many there are."""
        found = list(wrong)
        self.shown += [f"{kind}: {text}" for text in found[:_SHOWN]]
        return len(found)


def check(expected: Expected, got: Got, since: Since | None = None) -> Verdict:
    """Compare everything.

    Args:
        expected: By the oracle.
        got: As the service left it.
        since: What may be missing, after Redis has lost its data.
    """
    verdict = Verdict()
    _check_flags(verdict, expected, got)
    _check_letters(verdict, expected, got)
    verdict.wrong_counts = verdict.note("count", _wrong_counts(expected.counts, got.counts, since))
    verdict.wrong_vectors = verdict.note("vector", _wrong_vectors(expected.vectors, got.vectors, since))
    verdict.conservation_wrong = verdict.note("conservation", _wrong_records(expected, got))
    return verdict


def _check_flags(verdict: Verdict, expected: Expected, got: Got) -> None:
    """The set of ids must be the expected one, and every copy of a flag must be the expected decision."""
    found = Counter(flag["flag_id"] for flag in got.flags)
    verdict.lost += verdict.note("lost flag", expected.flags.keys() - found.keys())
    verdict.phantom += verdict.note("phantom flag", found.keys() - expected.flags.keys())
    decisions = [
        (flag["flag_id"], [flag[name] for name in ("level", "partition", "offset", "raw_score", "score")])
        for flag in got.flags
    ]
    verdict.wrong_decisions = verdict.note(
        "decision",
        (
            f"{flag_id}: expected {expected.flags[flag_id]}, got {decision}"
            for flag_id, decision in decisions
            if flag_id in expected.flags and decision != expected.flags[flag_id]
        ),
    )
    verdict.raw_repeats = found.total() - len(found)


def _check_letters(verdict: Verdict, expected: Expected, got: Got) -> None:
    """Every dead and every late record must be there, with its bytes and the reason."""
    found = Counter(f"{letter['partition']}:{letter['offset']}" for letter in got.letters)
    verdict.lost += verdict.note("lost dead letter", expected.letters.keys() - found.keys())
    verdict.phantom += verdict.note("phantom dead letter", found.keys() - expected.letters.keys())
    contents = {
        (f"{letter['partition']}:{letter['offset']}", letter["reason"], digest(letter["value"]))
        for letter in got.letters
    }
    verdict.wrong_letters = verdict.note(
        "dead letter",
        (
            f"{place}: expected {expected.letters[place]}, got {content}"
            for place, *content in sorted(contents)
            if place in expected.letters and content != expected.letters[place]
        ),
    )
    verdict.letter_repeats = found.total() - len(found)


def _wrong_counts(
    expected: dict[str, dict[str, int]], got: dict[str, dict[str, int]], since: Since | None
) -> Iterator[str]:
    floor = minute_name(since.minute_ms) if since else ""
    for page in sorted(expected.keys() | got.keys()):
        wanted, found = expected.get(page, {}), got.get(page, {})
        for minute in sorted(wanted.keys() | found.keys()):
            if minute >= floor and wanted.get(minute) != found.get(minute):
                yield f"{page} {minute}: expected {wanted.get(minute)}, got {found.get(minute)}"


def _wrong_vectors(
    expected: dict[str, dict[str, Any]], got: dict[str, dict[str, str]], since: Since | None
) -> Iterator[str]:
    for session_id in sorted(expected.keys() | got.keys()):
        wanted, found = expected.get(session_id), got.get(session_id)
        if wanted is None:
            yield f"{session_id}: expected none"
        elif found is None:
            if since is None or wanted["offset"] >= since.offsets[wanted["partition"]]:
                yield f"{session_id}: missing, its last event is {wanted['partition']}:{wanted['offset']}"
        elif difference := _difference(wanted, found):
            yield f"{session_id}: {difference}"


def _difference(wanted: dict[str, Any], found: dict[str, str]) -> str:
    """Say what differs between an expected vector and a hash; `updated_at` is not looked at."""
    named = {**dict(zip(FEATURES, wanted["features"], strict=True)), "score": wanted["score"]}
    for name, value in named.items():
        if name not in found or float(found[name]) != value:
            return f"{name}: expected {value!r}, got {found.get(name)}"
    if found.get("level") != wanted["level"]:
        return f"level: expected {wanted['level']!r}, got {found.get('level')!r}"
    return ""


def _wrong_records(expected: Expected, got: Got) -> Iterator[str]:
    """The conservation law, and that the service counts its records as the oracle does, partition by partition."""
    for partition, wanted in sorted(expected.outcomes.items()):
        found = got.records.get(partition, {})
        if found != wanted:
            yield f"partition {partition}: expected {wanted}, got {found}"
        elif wanted["consumed"] != sum(count for name, count in wanted.items() if name != "consumed"):
            yield f"partition {partition}: consumed is not the sum of the others in {wanted}"
        letters = {letter["offset"] for letter in got.letters if str(letter["partition"]) == partition}
        if len(letters) != wanted["dead"] + wanted["late"]:
            yield f"partition {partition}: expected {wanted['dead'] + wanted['late']} dead letters, got {len(letters)}"


def collect(
    bootstrap: str, flags_topic: str, letters_topic: str, redis_url: str, records: dict[str, dict[str, int]]
) -> Got:
    """Read everything that the service wrote.

    Args:
        bootstrap: Kafka.
        flags_topic: Of the flags.
        letters_topic: Of the dead letters.
        redis_url: Redis.
        records: The service's own counts, which only it can tell.
    """
    got = Got(records=records)
    for message in read_topic(bootstrap, flags_topic):
        got.flags.append(read_ours("fraud_flag", message.value()))
        got.flagged_ms.append(message.timestamp()[1])
    got.letters = [read_ours("dead_letter", message.value()) for message in read_topic(bootstrap, letters_topic)]
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        got.counts = {
            page: {minute: int(count) for minute, count in fields.items()}
            for page, fields in _hashes(client, "click_count:")
        }
        got.vectors = dict(_hashes(client, "session:"))
    return got


def _hashes(client: Any, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    keys = list(client.scan_iter(f"{prefix}*", count=5_000))
    for start in range(0, len(keys), 1_000):
        some = keys[start : start + 1_000]
        pipeline = client.pipeline(transaction=False)
        for key in some:
            pipeline.hgetall(key)
        yield from zip((key.removeprefix(prefix) for key in some), pipeline.execute(), strict=True)
