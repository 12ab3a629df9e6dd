"""The simulated bank: seeded, at the rate that is asked for, and with labels that mean something."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice, pairwise
from statistics import median

import pytest

from model.simulator import SimulatedEvent, SimulatorConfig, frame_of, simulate
from model.simulator.attacks import ATTACKS
from model.simulator.config import ATTACK_MIX
from schemas.events import EVENT_FRAME, TRANSFER

START_MS = 1_749_531_840_000


def events(
    count: int, *, seed: int = 7, rate: float = 200.0, config: SimulatorConfig | None = None
) -> list[SimulatedEvent]:
    return list(islice(simulate(config or SimulatorConfig(), seed, rate, START_MS), count))


def by_session(stream: Iterable[SimulatedEvent]) -> dict[str, list[SimulatedEvent]]:
    sessions = defaultdict(list)
    for event in stream:
        sessions[event.session_id].append(event)
    return sessions


def test_the_same_seed_gives_the_same_stream_and_another_seed_another() -> None:
    assert events(2_000) == events(2_000)
    assert events(100) != events(100, seed=8)


@pytest.mark.parametrize("rate", [0.5, 50.0, 1_000.0])
def test_event_k_is_due_at_k_over_rate(rate: float) -> None:
    stream = events(500, rate=rate)

    assert [event.due_ms for event in stream] == [place * 1000 / rate for place in range(500)]


def test_timestamps_follow_the_stream_and_never_go_back_inside_a_session() -> None:
    stream = events(20_000)

    behind = [START_MS + int(event.due_ms) - event.record["timestamp"] for event in stream]
    assert min(behind) >= 0
    assert max(behind) <= SimulatorConfig().out_of_order_ms
    assert 0 < sum(lag > 0 for lag in behind) < 0.02 * len(stream)
    for session in by_session(stream).values():
        assert all(before.record["timestamp"] <= after.record["timestamp"] for before, after in pairwise(session))


def test_the_stream_starts_in_the_middle_of_things() -> None:
    stream = events(9_000, rate=200.0)

    first, later = stream[:1_000], stream[-1_000:]
    for kind, at_least in (("login", 0.5), ("logout", 0.4), ("transfer", 0.5), ("input", 0.75)):
        early, late = (sum(event.record["event_type"] == kind for event in part) for part in (first, later))
        assert at_least < early / late < 1 / at_least, kind
    known = {event.session_id for event in first}
    assert 0.8 < len(known) / len({event.session_id for event in later}) < 1.25


def test_pauses_inside_a_session_are_seconds_at_any_rate() -> None:
    for rate in (20.0, 1_000.0):
        pauses = [
            after.due_ms - before.due_ms
            for session in by_session(events(int(rate) * 30, rate=rate)).values()
            for before, after in pairwise(session)
        ]

        assert 1_500 < median(pauses) < 5_000


def test_labels_begin_with_the_onset_and_stay() -> None:
    for session in by_session(events(30_000)).values():
        labels = [event.label for event in session]
        assert labels == sorted(labels)
        assert len({event.kind for event in session}) == 1
        if session[0].kind == "":
            assert not any(labels)


def test_attacks_have_their_share_and_every_kind_comes() -> None:
    config = replace(SimulatorConfig(), attack_share=0.3)
    sessions = by_session(events(40_000, config=config)).values()

    kinds = [session[0].kind for session in sessions]
    assert 0.25 < sum(kind != "" for kind in kinds) / len(kinds) < 0.35
    assert set(kinds) == {"", *ATTACK_MIX} == {"", *ATTACKS}


def test_a_hijack_begins_as_the_customers_own_session() -> None:
    config = replace(SimulatorConfig(), attack_share=1.0, attack_mix={"session_hijack": 1.0})
    stream = events(20_000, config=config)

    whole = [session for session in by_session(stream).values() if session[0].label == 0 and session[-1].label == 1]
    assert whole
    for session in whole:
        onset = next(at for at, event in enumerate(session) if event.label)
        assert session[onset].record["ip"] != session[onset - 1].record["ip"]


def test_the_frame_is_what_decoding_gives_with_labels_beside_it() -> None:
    stream = events(1_000)

    frame = frame_of(stream)

    assert list(frame.schema.items())[: len(EVENT_FRAME)] == list(EVENT_FRAME.items())
    assert frame["label"].to_list() == [event.label for event in stream]
    assert frame["session_id"].to_list() == [event.session_id for event in stream]
    assert (frame["event_type"] == TRANSFER).sum() == sum(e.record["event_type"] == "transfer" for e in stream)
