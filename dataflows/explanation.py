"""A flag computed again: from what it carries, and from its session's events."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dataflows.connectors.enrichment import QUESTIONS, columns_of
from dataflows.connectors.registry import Writers
from dataflows.connectors.topic_reader import TopicReader
from dataflows.export import decoded
from features.admission import ADMITTED, Admission
from features.events import EventColumns
from features.live_sessions import LiveSessions, vector_after
from features.pages import with_normal_pages
from features.session import FEATURES
from model.artifacts import ArtifactShelf
from model.decision import Level
from model.reasons import Reason, Reasons
from model.scorer import Scorer
from schemas.events import EVENT_TYPES

EQUAL = "equal to the bit"
_MOST_REASONS = 12


class ExplanationError(RuntimeError):
    """A flag cannot be explained; the message is one line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the session, as a person reads it; no device, address or typed text."""

    time: str
    gap: str
    event_type: str
    page: str
    latency_ms: int
    changed: str
    score: float
    level: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What came of it.

    Attributes:
        flag: The flag, as it was read.
        first: `EQUAL`, or what differs between the flag and what its own state gives.
        second: `EQUAL`, or what differs between the flag and what the session's events give, with the cause.
        holds: Whether the first level is equal, and the second one too or has a named cause.
        baseline: The raw score before anything is known.
        reasons: What weighed most, with its sign.
        others: What all other features added.
        steps: The session's events up to the flag, as far as they are still there. Earlier scores are with the answers
            that the stores gave for the flag's own event: theirs were not recorded.
    """

    flag: Mapping[str, Any]
    first: str
    second: str
    holds: bool
    baseline: float
    reasons: list[Reason]
    others: float
    steps: list[Step]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        flag = {name: value for name, value in self.flag.items() if not isinstance(value, bytes)}
        return {
            "flag": flag,
            "first": self.first,
            "second": self.second,
            "holds": self.holds,
            "baseline": self.baseline,
            "reasons": [reason._asdict() for reason in self.reasons],
            "others": self.others,
            "steps": [asdict(step) for step in self.steps],
        }


@dataclass(frozen=True, slots=True)
class Sources:
    """What a flag is computed again from.

    Attributes:
        events: Of the topic that its event was read from.
        writers: Gives the events' schemas.
        shelf: Has the flag's model.
        lateness_ms: How far behind the watermark an event counts.
    """

    events: TopicReader
    writers: Writers
    shelf: ArtifactShelf
    lateness_ms: int


def explain(flag: Mapping[str, Any], sources: Sources) -> Explanation:
    """Compute a flag again.

    Args:
        flag: As it was read.
        sources: Where the events and the model are.

    Raises:
        ExplanationError: If the flag is of other features than this release's.
        ArtifactError: If the model is not there.
    """
    if tuple(flag["feature_names"]) != FEATURES:
        msg = f"the flag is of feature set {flag['feature_set_id']}, which this release does not compute"
        raise ExplanationError(msg)
    artifact = sources.shelf.load(flag["model_id"])
    scorer, reasons = Scorer(artifact), Reasons(artifact)
    vector = np.array(flag["features"])
    low, _ = sources.events.extent(flag["partition"])
    session = _session(flag, sources, max(low, flag["first_offset"]))
    trigger = session.filter(pl.col("offset") == flag["offset"])
    first = _first_level(flag, trigger, scorer)
    rows = LiveSessions().update(with_normal_pages(session), None)
    differing = _differing(rows.matrix[-1], flag["features"])
    cause = _cause(flag, session, low, sources.lateness_ms) if differing else ""
    usual = {reason["feature"]: reason["usual"] for reason in flag["reasons"]}
    told = sorted(reasons.of_all(vector, usual), key=lambda reason: -abs(reason.contribution))
    return Explanation(
        flag=flag,
        first=first,
        second=f"{differing}: {cause or 'no cause is known'}" if differing else EQUAL,
        holds=first == EQUAL and (not differing or bool(cause)),
        baseline=reasons.baseline,
        reasons=told[:_MOST_REASONS],
        others=sum(reason.contribution for reason in told[_MOST_REASONS:]),
        steps=_steps(session, scorer.score(rows.matrix).score, Level(flag["level"], flag["threshold"])),
    )


def _session(flag: Mapping[str, Any], sources: Sources, begin: int) -> pl.DataFrame:
    """Return the session's events from an offset to the flag's, as far as they counted.

    All of the partition's events from there on are judged as the flow judges them; what came before is not known.
    """
    partition, events = flag["partition"], sources.events
    admission, frames = Admission(sources.lateness_ms), []
    for records in events.read(partition, begin, flag["offset"] + 1):
        frame, _ = decoded(records, sources.writers)
        verdict = admission.judge(EventColumns.from_frame(with_normal_pages(frame))).verdict
        frames.append(frame.filter(pl.Series(verdict == ADMITTED) & (pl.col("session_id") == flag["session_id"])))
    if not frames:
        msg = f"offset {flag['offset']} of partition {partition} is no longer in {events.topic}"
        raise ExplanationError(msg)
    return _with_answers(pl.concat(frames), flag)


def _with_answers(events: pl.DataFrame, flag: Mapping[str, Any]) -> pl.DataFrame:
    """Give every event the answers that the flag recorded for its own."""
    recorded = {answer["key"]: answer["value"] for answer in flag["enrichment"]}
    as_read = {
        question.column: [question.from_text(recorded[question.column])] * events.height
        if recorded.get(question.column) is not None
        else [question.absent] * events.height
        for question in QUESTIONS
    }
    columns = columns_of(as_read, events["user_id"].to_list())
    return events.with_columns(
        pl.Series(name, column.tolist(), dtype=pl.Binary if name == "profile" else pl.Float64)
        for name, column in columns.items()
    )


def _first_level(flag: Mapping[str, Any], trigger: pl.DataFrame, scorer: Scorer) -> str:
    """Compute vector and raw score from the state in the flag."""
    if not trigger.height:
        return "the triggering event is no longer there"
    vector = vector_after(flag["state_before"], trigger)
    if differing := _differing(vector, flag["features"]):
        return differing
    raw = float(scorer.raw(vector[None])[0])
    return EQUAL if raw == flag["raw_score"] else f"raw score {raw!r}, the flag has {flag['raw_score']!r}"


def _cause(flag: Mapping[str, Any], session: pl.DataFrame, low: int, lateness_ms: int) -> str:
    """Name why the session's events give another vector than the flag has, empty if nobody knows.

    Args:
        flag: As it was read.
        session: The events.
        low: The partition's first offset that is still there.
        lateness_ms: How far behind the watermark an event counts.
    """
    if flag["first_offset"] < low:
        return "the session's first events are no longer in Kafka (retention)"
    latest = int(session["timestamp"].to_numpy().max())
    if (session["timestamp"] < latest - lateness_ms).any():
        return "some events may have been late, by a watermark from before the session"
    if "partial_features" in flag["degraded"]:
        return "the session began before today's features (partial_features)"
    return ""


def _differing(found: NDArray[np.float64], flagged: list[float]) -> str:
    """Name the features that differ, empty if none does."""
    names = [
        name for name, ours, theirs in zip(FEATURES, found.tolist(), flagged, strict=True) if ours.hex() != theirs.hex()
    ]
    return f"{', '.join(names[:5])} differ{'' if len(names) > 1 else 's'}" if names else ""


def _steps(session: pl.DataFrame, score: NDArray[np.float64], level: Level) -> list[Step]:
    """Return the events as a person reads them."""
    rows = session.to_dicts()
    above = np.flatnonzero(score > level.threshold)
    crossing = above[0] if len(above) else -1
    return [
        _step(row, before, value, level.name if place == crossing else "")
        for place, (row, before, value) in enumerate(zip(rows, [None, *rows], score.tolist(), strict=False))
    ]


def _step(row: dict[str, Any], before: dict[str, Any] | None, score: float, level: str) -> Step:
    changes = [
        f" [{what} changed]"
        for what, name in (("device", "device_fingerprint"), ("address", "ip"))
        if before and row[name] and before[name] and row[name] != before[name]
    ]
    return Step(
        time=f"{datetime.fromtimestamp(row['timestamp'] / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3],
        gap="" if before is None else f"+{(row['timestamp'] - before['timestamp']) / 1000:.3f} s",
        event_type=EVENT_TYPES[row["event_type"]],
        page=row["page"],
        latency_ms=row["latency_ms"],
        changed="".join(changes),
        score=score,
        level=level,
    )
