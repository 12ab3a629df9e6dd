"""The steps of the fraud flow: each turns one kind of item into the next, and knows nothing of its neighbours.

A stateful step keeps the state of one partition in an object of `features` or `model`; what is here only unpacks the
item, calls it, and shows what it did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dataflows.clock import now_ms
from dataflows.items import (
    AdmittedBatch,
    DeadLetter,
    DecidedBatch,
    DecodedBatch,
    EnrichedBatch,
    FeatureBatch,
    PageCounts,
    RawBatch,
    ScoredBatch,
)
from dataflows.models import Models
from features.admission import ADMITTED, DUPLICATE, LATE, Admission
from features.events import EventColumns
from features.live_sessions import LiveSessions, settle
from features.page_windows import PageWindows
from features.pages import with_normal_pages
from model.decision import Decisions
from model.drift import place_codes
from observability import metrics
from schemas.codec import Reject, WriterSchema, decode


@dataclass(frozen=True, slots=True)
class Decode:
    """Bytes to event frames: everything pending, of all partitions, in one call. No I/O.

    Attributes:
        writers: The writer schemas by id; the source has asked for them.
    """

    writers: dict[int, WriterSchema]

    def __call__(self, items: Sequence[tuple[str, RawBatch]]) -> list[tuple[str, DecodedBatch]]:
        """Decode batches; each comes out as one."""
        raws = [raw for _, raw in items]
        values = [value for raw in raws for value in raw.values]
        kafka_ms = np.concatenate([raw.kafka_ms for raw in raws])
        offsets = np.concatenate([raw.offsets for raw in raws])
        decoded = decode(values, kafka_ms, self.writers)
        metrics.FALLBACK_RECORDS.inc(decoded.by_record)
        rows = decoded.events["row"].to_numpy()
        events = with_normal_pages(decoded.events).hstack(
            [pl.Series("offset", offsets[rows]), pl.Series("kafka_ms", kafka_ms[rows])]
        )
        columns = EventColumns.from_frame(events)
        metrics.KEY_MISMATCH.inc(_key_mismatches([key for raw in raws for key in raw.keys], events))
        starts = np.cumsum([0, *(len(raw.values) for raw in raws)])
        cuts = np.searchsorted(rows, starts)
        in_batch = rows - np.repeat(starts[:-1], np.diff(cuts))
        events.replace_column(events.get_column_index("row"), pl.Series("row", in_batch.astype(np.uint32)))
        batches = []
        for (key, raw), start, first, end in zip(
            items, starts.tolist(), cuts.tolist(), cuts[1:].tolist(), strict=False
        ):
            rejects = [
                replace(reject, row=reject.row - start)
                for reject in decoded.rejects
                if start <= reject.row < start + len(raw.values)
            ]
            mine = events.slice(first, end - first)
            batches.append((key, DecodedBatch(raw, mine, columns.take(slice(first, end)), rejects)))
        return batches


@dataclass(frozen=True, slots=True)
class Admit:
    """Which events count. The others are duplicates, or become dead letters."""

    state: Admission

    def __call__(self, decoded: DecodedBatch) -> AdmittedBatch:
        """Judge a batch."""
        raw, events = decoded.raw, decoded.events
        verdicts = self.state.judge(decoded.columns)
        self.state.counts["dead"] += len(decoded.rejects)
        late = events["row"].to_numpy()[verdicts.verdict == LATE].tolist()
        dead_letters = [_dead_letter(raw, reject) for reject in decoded.rejects]
        dead_letters += [_dead_letter(raw, self._too_late(row)) for row in late]
        self._show(decoded, dead_letters, verdicts.verdict, verdicts.id_reused)
        admitted = verdicts.verdict == ADMITTED
        every = admitted.all()
        return AdmittedBatch(
            partition=raw.partition,
            configuration=raw.configuration,
            events=events if every else events.filter(pl.Series(admitted)),
            columns=decoded.columns if every else decoded.columns.take(admitted),
            dead_letters=dead_letters,
            watermark_ms=verdicts.watermark_ms,
            unread=raw.unread,
            opens_snapshot=raw.opens_snapshot,
        )

    def _too_late(self, row: int) -> Reject:
        error = f"expected an event at most {self.state.lateness_ms // 1000} s behind the watermark"
        return Reject(row, "too_late", "admit", error)

    def _show(
        self, decoded: DecodedBatch, dead_letters: list[DeadLetter], verdict: NDArray[np.uint8], id_reused: int
    ) -> None:
        for dead_letter in dead_letters:
            metrics.DEAD_LETTERS.labels(dead_letter.stage, dead_letter.reason).inc()
        metrics.EVENTS.labels("dead").inc(len(decoded.rejects))
        metrics.EVENTS.labels("late").inc(int(np.count_nonzero(verdict == LATE)))
        metrics.EVENTS.labels("duplicate").inc(int(np.count_nonzero(verdict == DUPLICATE)))
        metrics.EVENT_ID_REUSED.inc(id_reused)
        partition = str(decoded.raw.partition)
        for outcome, count in self.state.counts.items():
            metrics.PARTITION_RECORDS.labels(partition, outcome).set(count)
        if self.state.watermark_ms is not None:
            metrics.WATERMARK.labels(partition).set(self.state.watermark_ms / 1000)
            metrics.DUPLICATE_HORIZON.labels(partition).set(self.state.horizon_ms / 1000)


def _key_mismatches(keys: list[bytes | None], events: pl.DataFrame) -> int:
    """Count the valid events whose Kafka key is not their session id: they may be in a foreign partition."""
    of_events = pl.Series("key", keys, dtype=pl.Binary)[events["row"]]
    return int((of_events != events["session_id"].cast(pl.Binary)).sum()) + of_events.null_count()


def _dead_letter(raw: RawBatch, reject: Reject) -> DeadLetter:
    row = reject.row
    return DeadLetter(
        value=raw.values[row],
        key=raw.keys[row],
        headers=raw.headers[row] or [],
        partition=raw.partition,
        offset=int(raw.offsets[row]),
        kafka_ms=int(raw.kafka_ms[row]),
        reason=reject.reason,
        stage=reject.stage,
        error=reject.error,
    )


@dataclass(frozen=True, slots=True)
class CountPages:
    """How many events each page has in each minute."""

    state: PageWindows

    def __call__(self, admitted: AdmittedBatch) -> PageCounts:
        """Count a batch."""
        counts = self.state.count(admitted.events, admitted.watermark_ms)
        return PageCounts(admitted.partition, counts, admitted.watermark_ms, admitted.unread)


@dataclass(frozen=True, slots=True)
class UpdateSessions:
    """Events to the sessions of their partition. The features of all partitions are computed together, by `Score`."""

    state: LiveSessions

    def __call__(self, enriched: EnrichedBatch) -> FeatureBatch:
        """Give a batch to its sessions."""
        session_ids = enriched.events["session_id"].to_list()
        for dependency in enriched.degraded:
            metrics.DEGRADED.labels(dependency).inc(enriched.events.height)
        return FeatureBatch(enriched, self.state.begin(session_ids, enriched.columns, enriched.watermark_ms))


def _show_sessions(batch: FeatureBatch) -> None:
    sessions, partition = batch.update.sessions, str(batch.enriched.partition)
    metrics.LIVE_SESSIONS.labels(partition).set(len(sessions))
    metrics.STATE_BYTES.labels(partition).set(sessions.state_bytes)
    metrics.SESSIONS_EVICTED.inc(batch.rows.evicted)


@dataclass(frozen=True, slots=True)
class Score:
    """Events to features and scores: one call of each for everything pending, of all partitions.

    Attributes:
        models: The opened models; an item names its own.
    """

    models: Models

    def __call__(self, items: Sequence[tuple[str, FeatureBatch]]) -> list[tuple[str, ScoredBatch]]:
        """Score batches; each comes out as one, in the same order."""
        settle([batch.update.sessions for _, batch in items])
        for _, batch in items:
            _show_sessions(batch)
        scored: dict[int, tuple[str, ScoredBatch]] = {}
        model_ids = [batch.enriched.configuration.model_id for _, batch in items]
        for model_id in dict.fromkeys(model_ids):
            places = [at for at, wanted in enumerate(model_ids) if wanted == model_id]
            matrix = np.concatenate([items[at][1].rows.matrix for at in places])
            model = self.models.open(model_id)
            scores = model.scorer.score(matrix)
            metrics.SCORE.observe(scores.score)
            if model.watch is not None and model.watch.is_counting:
                model.watch.add(matrix, _places([items[at][1] for at in places]), scores.score)
            cuts = np.cumsum([len(items[at][1].rows.matrix) for at in places])[:-1]
            parts = zip(places, np.split(scores.raw, cuts), np.split(scores.score, cuts), strict=True)
            scored |= {at: (items[at][0], ScoredBatch(items[at][1], raw, score)) for at, raw, score in parts}
        return [scored[at] for at in range(len(items))]


def _places(batches: Sequence[FeatureBatch]) -> NDArray[np.uint64]:
    columns = [batch.enriched.columns for batch in batches]
    return place_codes(np.concatenate([each.page for each in columns]), np.concatenate([each.type for each in columns]))


@dataclass(frozen=True, slots=True)
class Decide:
    """Scores to decisions: what each session has crossed for the first time."""

    state: Decisions

    def __call__(self, scored: ScoredBatch) -> DecidedBatch:
        """Decide on a batch."""
        enriched = scored.features.enriched
        crossings = self.state.decide(scored.features.rows, scored.score, enriched.configuration.levels)
        metrics.EVENTS.labels("scored").inc(len(scored.score))
        metrics.PARTITION_RECORDS.labels(str(enriched.partition), "scored").set(self.state.scored)
        metrics.PIPELINE_LATENCY.observe((now_ms() - enriched.events["kafka_ms"].to_numpy()) / 1000)
        return DecidedBatch(scored, crossings)
