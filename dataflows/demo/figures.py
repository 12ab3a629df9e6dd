"""What the demo shows, as numbers: out of the service's `/metrics`, its flags and its page counts. Pure: no I/O."""

import json
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

QUANTILES = (50, 95, 99)
"""The percentiles of latency that are shown."""

_WINDOW_SECONDS = 10.0
_SHOWN_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Histogram:
    """A Prometheus histogram as it was read.

    Attributes:
        bounds: Upper bounds in rising order; the last is infinity.
        counts: For each bound, the number of values up to it.
    """

    bounds: tuple[float, ...] = (math.inf,)
    counts: tuple[float, ...] = (0,)

    @classmethod
    def from_samples(cls, samples: Iterable[Sample]) -> Self:
        """Read the `_bucket` samples of one histogram."""
        buckets = sorted((float(sample.labels["le"]), sample.value) for sample in samples)
        return cls(tuple(bound for bound, _ in buckets), tuple(count for _, count in buckets)) if buckets else cls()

    def since(self, earlier: Self) -> "Histogram":
        """Return what was observed after an earlier reading; all of it if the buckets are not the same."""
        if earlier.bounds != self.bounds:
            return self
        return Histogram(self.bounds, tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True)))

    def percentile(self, percent: float) -> float:
        """Estimate a percentile, taking the values of a bucket as evenly spread over it.

        What lies above the largest finite bound counts as that bound; without values it is 0.

        >>> Histogram((1.0, 2.0, math.inf), (50, 100, 100)).percentile(75)
        1.5
        """
        rank = percent / 100 * self.counts[-1]
        if rank <= 0:
            return 0.0
        at = bisect_left(self.counts, rank)
        below, low = (self.counts[at - 1], self.bounds[at - 1]) if at else (0.0, 0.0)
        if math.isinf(self.bounds[at]):
            return low
        return low + (self.bounds[at] - low) * (rank - below) / (self.counts[at] - below)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the flow says of itself at one moment; records are those of this process, not of runs before it.

    Attributes:
        in_flight: Records read that have not ended yet.
        lag: Records known to wait in Kafka.
        flags_delivered: Flags that Kafka has acknowledged.
        newest_event_seconds: The largest watermark, event time; 0 before the first event.
    """

    scored: int = 0
    dead: int = 0
    late: int = 0
    duplicates: int = 0
    in_flight: int = 0
    lag: int = 0
    live_sessions: int = 0
    flags_delivered: int = 0
    newest_event_seconds: float = 0.0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def events(self) -> int:
        """Records consumed."""
        return self.scored + self.dead + self.late + self.duplicates + self.in_flight


def figures_from(text: str) -> Figures:
    """Read the text of `/metrics`; what it does not have is 0.

    Raises:
        ValueError: If it is something else.
    """
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ended = _by_label(families.get("fraud_events"), "outcome", "_total")
    records = _by_label(families.get("fraud_partition_records"), "outcome")
    consumed = records.pop("consumed", 0)
    flags = _by_label(families.get("fraud_flags_emitted"), "level", "_total")
    watermarks = _by_label(families.get("fraud_watermark_timestamp_seconds"), "partition")
    return Figures(
        scored=int(ended.get("scored", 0)),
        dead=int(ended.get("dead", 0)),
        late=int(ended.get("late", 0)),
        duplicates=int(ended.get("duplicate", 0)),
        in_flight=max(0, int(consumed - sum(records.values()))),
        lag=int(sum(_by_label(families.get("fraud_consumer_lag_records"), "partition").values())),
        live_sessions=int(sum(_by_label(families.get("fraud_live_sessions"), "partition").values())),
        flags_delivered=int(sum(flags.values())),
        newest_event_seconds=max(watermarks.values(), default=0.0),
        latency=Histogram.from_samples(_samples(families.get("fraud_pipeline_latency_seconds"), "_bucket")),
    )


def _samples(family: Metric | None, suffix: str = "") -> list[Sample]:
    if family is None:
        return []
    return [sample for sample in family.samples if sample.name == family.name + suffix]


def _by_label(family: Metric | None, label: str, suffix: str = "") -> dict[str, float]:
    """Add the values of a metric up by one of its labels."""
    sums: dict[str, float] = {}
    for sample in _samples(family, suffix):
        sums[sample.labels[label]] = sums.get(sample.labels[label], 0) + sample.value
    return sums


class History:
    """The readings of the last seconds: what is going on now, not on average since the start."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Figures]] = deque([(0.0, Figures())])

    def add(self, at_seconds: float, figures: Figures) -> None:
        """Take a reading; times must rise. The stream begins with the last reading before its first event."""
        if not figures.events:
            self._readings.clear()
        self._readings.append((at_seconds, figures))
        while len(self._readings) > 2 and self._readings[1][0] <= at_seconds - _WINDOW_SECONDS:  # noqa: PLR2004 - a pair
            self._readings.popleft()

    @property
    def events_per_second(self) -> float:
        """Records consumed a second, over the last seconds."""
        (then, earlier), (now, latest) = self._readings[0], self._readings[-1]
        return (latest.events - earlier.events) / (now - then) if now > then else 0.0

    @property
    def latency(self) -> Histogram:
        """The latencies of the last seconds; while nothing is going on, of everything before."""
        latest = self._readings[-1][1].latency
        recent = latest.since(self._readings[0][1].latency)
        return recent if recent.counts[-1] else latest


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag as it is shown: every text safe for a terminal.

    Attributes:
        reasons: Codes and features of what weighed most, heaviest first.
    """

    flag_id: str
    session: str
    level: str
    score: float
    reasons: tuple[str, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Take a decoded FraudFlag; KeyError or TypeError if it is something else."""
        heaviest: dict[str, str] = {}
        for reason in record["reasons"]:
            if reason["contribution"] > 0:
                heaviest.setdefault(reason["code"], f"{reason['code']} ({reason['feature']} {reason['value']:g})")
        return cls(
            flag_id=record["flag_id"],
            session=safe(shortened(record["session_id"])),
            level=safe(record["level"]),
            score=record["score"],
            reasons=tuple(map(safe, heaviest.values())),
        )


@dataclass(frozen=True, slots=True)
class PageTable:
    """The busiest pages of the newest minutes.

    Attributes:
        minutes: Names of the minutes, oldest first.
        rows: Pages with their counts, one a minute, busiest first.
    """

    minutes: tuple[str, ...] = ()
    rows: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @classmethod
    def busiest(cls, minutes: Iterable[str], counts: Mapping[str, tuple[int, ...]]) -> Self:
        """Order the pages that have counts; the name decides between equals."""
        rows = [(page, of_page) for page, of_page in counts.items() if any(of_page)]
        rows.sort(key=lambda row: (-sum(row[1]), row[0]))
        return cls(tuple(minutes), tuple((safe(page), of_page) for page, of_page in rows))


def shortened(text: str) -> str:
    """Cut an id to what fits a line.

    >>> shortened("0190f2a4-session-of-somebody")
    '0190f2a4-se…'
    """
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def safe(text: str) -> str:
    """Replace what a terminal would obey instead of show: the texts of events are anybody's."""
    return "".join(character if character.isprintable() else "?" for character in text)


def summary_line(figures: Figures, flags: int, stored: Mapping[str, int]) -> str:
    """Return the run as one JSON object: its last line of output.

    Args:
        figures: Of the flow.
        flags: That were read.
        stored: What Redis holds, by name.
    """
    summary: dict[str, int | float] = {
        "events": figures.events,
        "scored": figures.scored,
        "flags": flags,
        "dead_letters": figures.dead,
        "late": figures.late,
        "duplicates": figures.duplicates,
        **stored,
    }
    summary |= {f"latency_ms_p{percent}": round(1000 * figures.latency.percentile(percent), 2) for percent in QUANTILES}
    return json.dumps(summary)
