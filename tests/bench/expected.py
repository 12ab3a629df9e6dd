"""What some work must lead to, recounted event by event, and how a run compares with it."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from model.artifacts import Artifact
from tests.bench.decoding import record_of
from tests.bench.models import current
from tests.bench.plain_sessions import PlainSessions
from tests.bench.work import Work, made, read
from tests.crash.oracle import minute_name

LEVELS = (("review", 0.8), ("block", 0.95))
_AT_ONCE = 50_000
_SHOWN = 3

Flag = tuple[str, str, str]
"""Session, triggering event, level."""

Counts = Mapping[tuple[str, str], int]
"""Events by page and minute."""


class WrongResultError(AssertionError):
    """A run's results are not what they must be: it has no rate."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The results of some work under one model."""

    counts: dict[tuple[str, str], int]
    flags: set[Flag]

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        counts = [[*key, count] for key, count in self.counts.items()]
        file.write_text(json.dumps({"counts": counts, "flags": sorted(self.flags)}))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        stored = json.loads(file.read_text())
        counts = {(page, minute): count for page, minute, count in stored["counts"]}
        return cls(counts, {(flag[0], flag[1], flag[2]) for flag in stored["flags"]})


class FlagRule:
    """Which scores raise a flag: the first of a session above each level, the highest where it is above both."""

    def __init__(self) -> None:
        self._ranks: dict[tuple[str, int], int] = {}

    def flags(self, rows: Sequence[tuple[str, int, str]], scores: Iterable[float]) -> Iterator[Flag]:
        """Yield the flags of events (session id, first timestamp of the session, event id), in order."""
        for (session_id, first, event_id), score in zip(rows, scores, strict=True):
            rank = sum(score > threshold for _, threshold in LEVELS)
            if rank > self._ranks.get((session_id, first), 0):
                self._ranks[session_id, first] = rank
                yield session_id, event_id, LEVELS[rank - 1][0]


def expected(work: Work, model_dirs: Sequence[Path], folder: Path) -> list[Expected]:
    """Return what some work leads to under each model, recounted once and kept in files."""
    models = [current(model_dir) for model_dir in model_dirs]
    plain = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in _SOURCES)).hexdigest()[:8]
    files = [folder / f"expected-{work.name}-{model.model_id}-{plain}.json" for model in models]
    if not all(file.exists() for file in files):
        with threadpool_limits(1):
            results = recount(read(made(work, folder)), models)
        for file, result in zip(files, results, strict=True):
            result.save(file)
    return [Expected.load(file) for file in files]


_SOURCES = ("expected.py", "plain_sessions.py", "work.py")


def recount(values: Iterable[bytes], models: Sequence[Artifact]) -> list[Expected]:
    """Go through events one by one; return the results under each model."""
    counts: Counter[tuple[str, int]] = Counter()
    flags: list[set[Flag]] = [set() for _ in models]
    sessions, rules, left = PlainSessions(), [FlagRule() for _ in models], iter(values)
    while records := [record_of(value) for value in islice(left, _AT_ONCE)]:
        rows, vectors = [], []
        for record in records:
            counts[record["page"], record["timestamp"] // 60_000 * 60_000] += 1
            session, vector = sessions.update(record)
            rows.append((record["session_id"], session.first, record["event_id"]))
            vectors.append(vector)
        matrix = np.array(vectors)
        for model, rule, found in zip(models, rules, flags, strict=True):
            scores = model.manifest.calibration.scores_of(model.model.decision_function(matrix))
            found.update(rule.flags(rows, scores.tolist()))
    named = {(page, minute_name(minute)): count for (page, minute), count in counts.items()}
    return [Expected(named, found) for found in flags]


def compare(want: Expected, counts: Counts, flags: Iterable[Flag]) -> dict[str, int]:
    """Compare a run's results with what they must be.

    Returns:
        How many counts, events in them and flags were right.

    Raises:
        WrongResultError: If anything is missing, wrong, or there twice.
    """
    got = list(flags)
    pairs = {key: (want.counts.get(key, 0), counts.get(key, 0)) for key in want.counts.keys() | counts.keys()}
    wrong = {(*key, f"{right}, got {found}") for key, (right, found) in pairs.items() if right != found}
    problems: dict[str, Collection[Any]] = {
        "page counts wrong": wrong,
        "flags missing": want.flags - set(got),
        "flags that must not be": set(got) - want.flags,
        "flags twice": [flag for flag, times in Counter(got).items() if times > 1],
    }
    if found := [f"{len(which)} {what}: {sorted(which)[:_SHOWN]}" for what, which in problems.items() if which]:
        raise WrongResultError("; ".join(found))
    if not want.flags:
        msg = "no flag is expected: the comparison says little"
        raise WrongResultError(msg)
    return {"checked_counts": len(counts), "checked_events": sum(counts.values()), "checked_flags": len(got)}
