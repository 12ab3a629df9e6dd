"""The risk flow: what is known of devices, users and inputs, into Redis, where the fraud flow looks it up.

Run it with ``python -m bytewax.run dataflows.risk -r STORE -s 10 -b 0``, beside the fraud flow and with a recovery
store of its own. One process, or a cluster of the engine, reads the partitions of all lanes: an entity's events are
spread over all of them, so here the engine shuffles, by a fixed number of shards.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from dataflows.beginning import begin
from dataflows.connectors.entity_values import EntityValueSink
from dataflows.connectors.profile_store import ProfileStore
from dataflows.connectors.records_source import RecordsSource
from dataflows.connectors.source import EventsSource
from dataflows.partition_state import partition_state
from dataflows.process import Process
from dataflows.risk_records import flag_of, status_of
from dataflows.risk_steps import (
    SHARDS,
    EndSessions,
    EntityState,
    LearnProfiles,
    UpdateEntities,
    by_user,
    flags_by_user,
    observe_entities,
    statuses_by_user,
)
from dataflows.settings import Settings
from dataflows.steps import Admit, Decode
from features.admission import Admission
from features.learning import Learning
from features.session_ends import SessionEnds

GROUP_SUFFIX = "-risk"
METRICS_PORT = "9401"


class RiskProcess(Process):
    """The process of the risk flow."""

    idle_wait = timedelta(milliseconds=100)
    """Nobody waits for a single event here, and larger batches cost a tenth an event."""

    def rights(self) -> dict[str, str]:
        """Return what the risk flow needs of Kafka: `READ` or `WRITE`, by topic."""
        return super().rights() | {self.settings.flags_topic: "READ", self.settings.status_topic: "READ"}


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the flow begins and ends: Kafka and Redis, or lists in a test."""

    events: Source[Any]
    flags: Source[Any]
    statuses: Source[Any]
    entity_values: Sink[Any]
    expected: Callable[[], frozenset[int]]
    """Partitions of the events that have some at the start; asked once the process is open."""


def build(process: Process, ends: Ends) -> Dataflow:
    """Connect the steps."""
    settings = process.settings
    late_ms, most = settings.lateness_ms, settings.max_live_sessions
    flow = Dataflow("risk")
    raw = op.input("events_in", flow, ends.events)
    # (partition, RawBatch): records as they lie in Kafka
    decoded = op.flat_map_batch("decode", raw, Decode(process.writers.known))
    # (partition, DecodedBatch): valid events as columns
    admitted = op.stateful_batch("admit", decoded, partition_state(Admit, lambda: Admission(late_ms)))
    # (partition, AdmittedBatch): events that count; the fraud flow sees to the others

    observed = op.flat_map_batch("observe", admitted, observe_entities)
    # (shard, Touched): facts of devices, users, inputs
    values = op.stateful_batch(
        "entities", observed, partition_state(partial(UpdateEntities, late_ms), lambda: EntityState(ends.expected()))
    )
    # (shard, Values): what Redis is to hold of them
    statuses = op.input("statuses_in", flow, ends.statuses)
    # StatusChanged: accounts that were locked, or opened again
    accounts = op.flat_map_batch("accounts", statuses, statuses_by_user)
    # (shard, Values): the same of accounts
    op.output("entity_values_out", op.merge("to_store", values, accounts), ends.entity_values)

    ended = op.stateful_batch(
        "session_ends", admitted, partition_state(EndSessions, lambda: SessionEnds(most, late_ms))
    )
    # (partition, Ended): sessions that are over
    by_shard = op.flat_map_batch("by_user", ended, by_user)
    # (shard, Ended): of the shard's users
    flags = op.input("flags_in", flow, ends.flags)
    # Flagged: sessions not to be learned from; and AllRead
    flagged = op.flat_map_batch("flagged", flags, flags_by_user)
    # (shard, the same)
    store = ProfileStore(settings.redis_url, process.readiness)
    to_learn = op.merge("to_learn", by_shard, flagged)
    op.stateful_batch(
        "learn", to_learn, partition_state(partial(LearnProfiles, store), lambda: Learning(ends.expected()))
    )
    # profiles are read, taught and written in the step
    return flow


def flow() -> Dataflow:
    """Build the flow of this process: what ``python -m bytewax.run dataflows.risk`` calls."""
    process = begin("risk", lambda: RiskProcess(settings_from(os.environ)))
    return build(process, live_ends(process))


def live_ends(process: Process) -> Ends:
    """Return the ends of the service: Kafka and Redis."""
    return Ends(
        events=EventsSource(process),
        flags=RecordsSource(process, process.settings.flags_topic, flag_of),
        statuses=RecordsSource(process, process.settings.status_topic, status_of),
        entity_values=EntityValueSink(process, SHARDS),
        expected=process.lane.with_records,
    )


def settings_from(env: Mapping[str, str]) -> Settings:
    """Read the settings of the fraud flow as those of this one: all partitions, another group and port, no pieces.

    Raises:
        SettingsError: One line that says what is wrong.
    """
    settings = Settings.from_env(
        {"METRICS_PORT": METRICS_PORT, **{name: value for name, value in env.items() if value}}
    )
    return replace(settings, kafka_group=settings.kafka_group + GROUP_SUFFIX, lane=0, lanes=1, whole_snapshots=True)
