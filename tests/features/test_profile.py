"""Profiles against the reference: what is learned of sessions, step by step, is the same to the bit."""

import random

import numpy as np
import pytest

from features.codes import string_codes
from features.integer_logs import LARGEST, log_of
from features.live_sessions import LiveSessions
from features.profile import NOBODY, PROFILE, ProfileError, fold, read
from tests.builders import A_MINUTE_MS, Record, an_event, event_frame
from tests.reference_habits import ReferenceProfile, ReferenceRhythm, reference_log


def a_random_session(dice: random.Random, start_ms: int, session_id: str, most: int = 60) -> list[Record]:
    """Give a session of one device and address with awkward pauses."""
    device, ip, at = dice.choice(("d-1", "d-2", "")), dice.choice(("203.0.113.7", "198.51.100.9", None)), start_ms
    records = []
    for number in range(dice.randrange(1, most)):
        at += dice.choice((0, 3, 99, 1_000, 45_000)) if number else 0
        kind, page = dice.choice(("page_view", "click", "input")), dice.choice(("/accounts", "/cards", "/help"))
        records.append(
            an_event(
                event_id=f"{session_id}-{number}",
                session_id=session_id,
                event_type=kind,
                page=page,
                timestamp=at,
                latency_ms=dice.randrange(5_000),
                device_fingerprint=device,
                ip=ip,
            )
        )
    return records


def learn(profile: ReferenceProfile, records: list[Record]) -> None:
    """Let the reference learn from a session, event by event."""
    rhythm, latest = ReferenceRhythm(), None
    for record in records:
        gap = None if latest is None else record["timestamp"] - latest
        rhythm.add(
            gap, record["latency_ms"], record["page"], ("page_view", "click", "input").index(record["event_type"])
        )
        latest = record["timestamp"]
    last, first_ms = records[-1], records[0]["timestamp"]
    device, ip = last["device_fingerprint"], [record["ip"] for record in records if record["ip"]]
    profile.learn(rhythm.steps, first_ms, latest or 0, device, ip[-1] if ip else "", usual_of(records))


def usual_of(records: list[Record]) -> list[int]:
    """Give the values of a session of page views, clicks and inputs that a person compares with."""
    times, count = [record["timestamp"] for record in records], len(records)
    took = max(times) - times[0]
    inputs = sum(record["event_type"] == "input" for record in records)
    pages = len({record["page"] for record in records})
    return [
        *(count * 256, inputs * 256, 0, 0, pages * 256),
        took * 256 // 1000,
        took * 256 // 1000 // max(count - 1, 1),
        sum(record["latency_ms"] for record in records) * 256 // count,
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_profile_learns_as_the_reference_does(seed: int) -> None:
    dice, expected, profile = random.Random(seed), ReferenceProfile(), NOBODY.copy()
    for number in range(40):
        records = a_random_session(dice, A_MINUTE_MS + number * 17_000_000, f"s-{number}")
        live = LiveSessions()
        live.update(event_frame(records), None)

        profile = fold(profile, live.summaries([f"s-{number}"]))
        learn(expected, records)

        assert profile.tobytes() == expected.to_bytes()


def test_a_step_made_very_often_in_one_session_counts_up_to_its_limit() -> None:
    records = [
        an_event(event_id=f"e-{at}", timestamp=A_MINUTE_MS + at * 1_700_000, latency_ms=600_000) for at in range(400)
    ]
    expected, live = ReferenceProfile(), LiveSessions()
    for record in records:
        live.update(event_frame([record]), None)

    learn(expected, records)

    assert fold(NOBODY, live.summaries(["s-1"])).tobytes() == expected.to_bytes()
    assert max(expected.steps) == 16 * 192


def test_many_users_learn_at_once_what_each_learns_alone() -> None:
    dice, live = random.Random(5), LiveSessions()
    names = [f"s-{number}" for number in range(30)]
    for name in names:
        live.update(event_frame(a_random_session(dice, A_MINUTE_MS, name)), None)
    summaries = live.summaries(names)

    together = fold(np.repeat(NOBODY, len(names)), summaries)

    alone = [fold(NOBODY, summaries.take(np.array([at]))).tobytes() for at in range(len(names))]
    assert [each.tobytes() for each in together] == alone


def test_a_profile_is_smaller_than_a_kilobyte_and_comes_back_from_its_bytes() -> None:
    live = LiveSessions()
    live.update(event_frame([an_event()]), None)
    profile = fold(NOBODY, live.summaries(["s-1"]))

    assert PROFILE.itemsize < 1024
    assert read([profile.tobytes(), b""]).tobytes() == profile.tobytes() + NOBODY.tobytes()


@pytest.mark.parametrize(
    "stored", [b"x", NOBODY.tobytes()[:-1], NOBODY.tobytes() + b"\0", b"\2" + NOBODY.tobytes()[1:]]
)
def test_bytes_that_are_no_profile_are_refused(stored: bytes) -> None:
    with pytest.raises(ProfileError, match="profile must have"):
        read([b"", stored])


def test_the_newest_of_many_devices_are_known() -> None:
    profile = NOBODY
    for number in range(12):
        live = LiveSessions()
        live.update(event_frame([an_event(device_fingerprint=f"d-{number}")]), None)
        profile = fold(profile, live.summaries(["s-1"]))

    frame = event_frame([an_event(device_fingerprint=f"d-{number}") for number in range(11, 3, -1)])
    codes = string_codes(frame, "device_fingerprint")[0].astype(np.uint32)
    assert profile["devices"][0].tolist() == codes.tolist()


def test_logarithms_are_those_of_whole_number_arithmetic() -> None:
    dice = random.Random(1)
    numbers = [*range(3_000), *(dice.randrange(2**bits) for bits in range(1, 33) for _ in range(40)), LARGEST]
    numbers = [number for number in numbers if number <= LARGEST]

    assert log_of(np.array(numbers)).tolist() == [reference_log(number) for number in numbers]
