"""The fraud flow: start here. It reads as its picture; what a step does is in `dataflows/steps.py`.

Run it with ``python -m bytewax.run dataflows.fraud -r STORE -s 1 -b 0``. Nothing is opened here: the engine asks the
source for its parts first, and that opens the service.
"""

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from dataflows.beginning import begin
from dataflows.connectors.enrichment import Enrich
from dataflows.connectors.kafka_sink import Deliveries, KafkaSink
from dataflows.connectors.page_counts import PageCountSink
from dataflows.connectors.source import EventsSource
from dataflows.connectors.vectors import VectorSink
from dataflows.flags import DeadLetterMessages, FlagMessages
from dataflows.partition_pieces import state_in_pieces, with_pieces
from dataflows.partition_state import partition_state
from dataflows.recovery import worker_count
from dataflows.service import Service
from dataflows.settings import Settings, SettingsError
from dataflows.steps import Admit, CountPages, Decide, Decode, Score, UpdateSessions
from features.admission import Admission
from features.live_sessions import LiveSessions
from features.page_windows import PageWindows
from model.decision import Decisions


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the flow begins and ends: Kafka and Redis, or lists in a test."""

    events: Source[Any]
    dead_letters: Sink[Any]
    page_counts: Sink[Any]
    flags: Sink[Any]
    vectors: Sink[Any]


def build(service: Service, ends: Ends) -> Dataflow:
    """Connect the steps."""
    late_ms, most = service.settings.lateness_ms, service.settings.max_live_sessions
    flow = Dataflow("fraud")
    raw = op.input("events_in", flow, ends.events)
    # (partition, RawBatch): records as they lie in Kafka
    decoded = op.flat_map_batch("decode", raw, with_pieces(Decode(service.writers.known)))
    # (partition, DecodedBatch): valid events as columns, and rejects
    admitted = op.stateful_batch("admit", decoded, state_in_pieces(Admit, lambda: Admission(late_ms)))
    # (partition, AdmittedBatch): events that count, and dead letters
    op.output("dead_letters_out", admitted, ends.dead_letters)

    counted = op.stateful_batch("page_windows", admitted, partition_state(CountPages, lambda: PageWindows(late_ms)))
    # (partition, PageCounts): new absolute counts of pages by minute
    op.output("page_counts_out", counted, ends.page_counts)

    enriched = op.flat_map_batch("enrich", admitted, with_pieces(Enrich(service)))
    # (partition, EnrichedBatch): with what Redis knows of devices and users
    rows = op.stateful_batch("sessions", enriched, state_in_pieces(UpdateSessions, lambda: LiveSessions(most, late_ms)))
    # (partition, FeatureBatch): in their sessions; the next step has the features of all partitions computed at once
    scored = op.flat_map_batch("score", rows, Score(service.models))
    # (partition, ScoredBatch): with one score an event
    decided = op.stateful_batch("decide", scored, partition_state(Decide, Decisions))
    # (partition, DecidedBatch): with the sessions that crossed a level
    op.output("flags_out", decided, ends.flags)
    op.output("features_out", decided, ends.vectors)
    return flow


def live_ends(service: Service) -> Ends:
    """Return the ends of the service: Kafka and Redis."""
    settings = service.settings
    deliveries = cache(lambda: Deliveries(service))
    letters = DeadLetterMessages(settings.events_topic)
    return Ends(
        events=EventsSource(service),
        dead_letters=KafkaSink(service, deliveries, settings.dead_letters_topic, letters),
        page_counts=PageCountSink(service),
        flags=KafkaSink(service, deliveries, settings.flags_topic, FlagMessages(service)),
        vectors=VectorSink(service),
    )


def flow() -> Dataflow:
    """Build the flow of this process: what ``python -m bytewax.run dataflows.fraud`` calls."""
    service = begin("fraud", lambda: Service(_settings()))
    return build(service, live_ends(service))


def _settings() -> Settings:
    """Read the settings, and hold them against the engine's own.

    Raises:
        SettingsError: One line that says what is wrong.
    """
    settings = Settings.from_env(os.environ)
    workers = worker_count(sys.argv, os.environ)
    if workers > 1 and not settings.whole_snapshots:
        msg = f"WHOLE_SNAPSHOTS must be 1 for {workers} workers: all pieces of a partition's state need the same one"
        raise SettingsError(msg)
    return settings
