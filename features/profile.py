"""What is normal for a user: a small record of integers, learned from sessions that nobody flagged.

One record a user, `PROFILE`, half a kilobyte, as it lies in the store. A session is folded in when it is over
(`fold`); the features compare a running session with it (`features/habits.py`). All of it is whole numbers and fades:
what a user did sixteen sessions ago counts little, so a record of a few hundred bytes never grows nor overflows.

A *step* is how a user gets to an event: the page before, the page, and the type of the event, hashed into one of
`STEPS` places. Place 0 is the first event of a session. So whatever a bank's pages and events are, each user has a
normal pause, a normal delay of the page and a frequency for each kind of step that they make.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.integer_logs import PARTS

VERSION = 1
STEPS = 32
HOURS = 24
PLACES = 8
"""So many of a user's devices and addresses are known, the newest first."""
SHARES = 16
"""A session weighs one part in so many once there is a history; in the beginning all sessions weigh the same."""
SCALE = 256
"""Normal values are in 1/256 of a doubling."""
MOST_SESSIONS = 65_535

USUAL = (
    "session_events",
    "session_inputs",
    "session_login_failures",
    "session_transfers",
    "session_distinct_pages",
    "session_duration_seconds",
    "session_gap_mean_seconds",
    "session_latency_mean_ms",
)
"""Features whose usual value at the end of a session is known, for a person to compare a flag's with."""
USUAL_PARTS = 256
"""Of a usual value's unit."""
MOST_USUAL = 2**24 - 1

PROFILE = np.dtype(
    [
        ("version", "<u2"),
        ("sessions", "<u2"),
        ("latest_ms", "<i8"),
        ("seen", "u1", STEPS),
        ("steps", "<u2", STEPS),
        ("gap", "<u2", STEPS),
        ("gap_spread", "<u2", STEPS),
        ("latency", "<u2", STEPS),
        ("latency_spread", "<u2", STEPS),
        ("hours", "<u2", HOURS),
        ("devices", "<u4", PLACES),
        ("addresses", "<u4", PLACES),
        ("usual", "<u4", len(USUAL)),
    ]
)
"""The record.

`sessions`: learned from. `latest_ms`: of them, the latest event. By step: `seen`, in how many sessions (at most 255);
`steps`, sixteenths of an event, fading; `gap` and `latency`, the logarithm of the normal pause before it and of the
normal delay, in 1/256 of a doubling; the spreads, by how much sessions differ from that, in the same unit. `hours`:
weight of each hour of the day (UTC) in which sessions began. Devices and addresses: the low 32 bits of their codes,
0 for an empty place. `usual`: of the features in `USUAL`, in 1/256 of their units.
"""

NOBODY = np.zeros(1, dtype=PROFILE)
NOBODY["version"] = VERSION


class ProfileError(ValueError):
    """Bytes are not a profile."""


@dataclass(frozen=True, slots=True)
class SessionSummaries:
    """What is learned of sessions that are over, one element a session in every array.

    Attributes:
        steps: int64 (sessions, 3, STEPS): by step, events, sum of the logarithms of their pauses, and of their delays;
            as `features.integer_logs` has them.
        first_ms: int64, the first event.
        latest_ms: int64, the latest one.
        device: uint64 code of the device last seen, 0 where none was.
        ip: uint64 code of the address last seen, 0 where none was.
        usual: int64 (sessions, len(USUAL)): the features of `USUAL` at the end, in 1/256 of their units, rounded down.
    """

    steps: NDArray[np.int64]
    first_ms: NDArray[np.int64]
    latest_ms: NDArray[np.int64]
    device: NDArray[np.uint64]
    ip: NDArray[np.uint64]
    usual: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first_ms)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return some of them."""
        return type(self)(**{name: getattr(self, name)[rows] for name in self.__slots__})


def read(stored: Sequence[bytes]) -> NDArray[np.void]:
    """Read profiles from bytes; empty bytes are a user of whom nothing is known.

    Raises:
        ProfileError: If some are of another size or version.
    """
    if any(len(each) not in {0, PROFILE.itemsize} for each in stored):
        got = next(len(each) for each in stored if len(each) not in {0, PROFILE.itemsize})
        msg = f"profile must have {PROFILE.itemsize} bytes, got {got}"
        raise ProfileError(msg)
    nobody = NOBODY.tobytes()
    profiles = np.frombuffer(b"".join([each or nobody for each in stored]), dtype=PROFILE)
    other = np.flatnonzero(profiles["version"] != VERSION)
    if len(other):
        msg = f"profile must have version {VERSION}, got {profiles['version'][other[0]]}"
        raise ProfileError(msg)
    return profiles


def fold(profiles: NDArray[np.void], sessions: SessionSummaries) -> NDArray[np.void]:
    """Return the profiles of as many users, each after one more session of theirs.

    Args:
        profiles: `PROFILE` records.
        sessions: One for each of them.
    """
    after = profiles.copy()
    after["sessions"] = np.minimum(profiles["sessions"].astype(np.int64) + 1, MOST_SESSIONS)
    after["latest_ms"] = np.maximum(profiles["latest_ms"], sessions.latest_ms)
    counts = sessions.steps[:, 0]
    seen = profiles["seen"].astype(np.int64)
    made = counts > 0
    after["seen"] = np.minimum(seen + made, 255)
    faded = profiles["steps"] - profiles["steps"] // SHARES
    after["steps"] = np.minimum(faded + SHARES * counts, 65_535)
    share = np.minimum(seen + 1, SHARES)
    for name, sums in (("gap", sessions.steps[:, 1]), ("latency", sessions.steps[:, 2])):
        normal, spread = profiles[name].astype(np.int64), profiles[f"{name}_spread"].astype(np.int64)
        off = sums * (SCALE // PARTS) // np.maximum(counts, 1) - normal
        off_by = np.where(seen > 0, np.abs(off), 0)
        after[name] = np.where(made, normal + off // share, normal)
        after[f"{name}_spread"] = np.where(
            made, spread + (off_by - spread) // np.minimum(np.maximum(seen, 1), SHARES), spread
        )
    hours = profiles["hours"] - profiles["hours"] // SHARES
    hours[np.arange(len(sessions)), hour_of(sessions.first_ms)] += SCALE
    after["hours"] = hours
    usual = profiles["usual"].astype(np.int64)
    share_of_all = np.minimum(after["sessions"], SHARES)[:, None].astype(np.int64)
    after["usual"] = usual + (np.minimum(sessions.usual, MOST_USUAL) - usual) // share_of_all
    after["devices"] = _newest_first(profiles["devices"], sessions.device)
    after["addresses"] = _newest_first(profiles["addresses"], sessions.ip)
    return after


def usual_values(stored: bytes) -> dict[str, float]:
    """Return a user's usual values by the feature's name: of those in `USUAL`, and none where nothing is known."""
    if not stored:
        return {}
    [profile] = read([stored])
    return dict(zip(USUAL, (profile["usual"] / USUAL_PARTS).tolist(), strict=True)) if profile["sessions"] else {}


def hour_of(timestamp_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the hour of the day in UTC."""
    return timestamp_ms // 3_600_000 % HOURS


def place_code(codes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return what a profile knows a device or an address by: 0 where it is not known."""
    low = codes.astype(np.uint32)
    return np.where((codes != 0) & (low == 0), np.uint32(1), low)


def _newest_first(known: NDArray[np.uint32], codes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Put each user's code in front of their others, from wherever it was; 0 changes nothing."""
    code = place_code(codes)[:, None]
    at = np.where((known == code).any(axis=1), (known == code).argmax(axis=1), PLACES - 1)
    moved = np.concatenate([code, known[:, :-1]], axis=1)
    stays = (np.arange(PLACES) > at[:, None]) | (code == 0)
    return np.where(stays, known, moved)
