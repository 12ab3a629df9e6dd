"""How a running session compares with what is normal for its user: the features that know the user.

Sums over the steps of a session are whole numbers, so that neither their order nor the cut of a batch shows; a
division comes last. A user of whom nothing is known has `NOT_KNOWN`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from features.catalogue import NOT_KNOWN
from features.integer_logs import PARTS, log_of
from features.profile import HOURS, SCALE, SHARES, hour_of, place_code

PRIOR_SPREAD, PRIOR_SESSIONS = SCALE // 2, 4
"""While little is known, sessions are taken to differ by half a doubling, as if so many had shown it."""
_HALF_AN_EVENT = SHARES // 2
_BITS, _MASK = 9, 2**9 - 1
_DAY_MS = 86_400_000

RECENT = 5
"""So many events, the row's own one included, show what somebody does now."""

Compared = Mapping[str, NDArray[np.float64] | NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Recent:
    """The last few events of each row's session, the row's own first: int64 (events, rows) in every array.

    Attributes:
        is_there: Whether there was such an event; bool.
        step: Its step.
        gap_log: Logarithm of the pause before it.
        latency_log: Logarithm of its delay.
    """

    is_there: NDArray[np.bool_]
    step: NDArray[np.int64]
    gap_log: NDArray[np.int64]
    latency_log: NDArray[np.int64]

    @classmethod
    def of(cls, code: NDArray[np.uint64], earlier: NDArray[np.uint64]) -> Self:
        """Unpack the codes of `event_code`: of the rows, and of the rows before them."""
        codes = np.concatenate([code[None], earlier]).astype(np.int64)
        packed = codes - 1
        return cls(codes > 0, packed >> 2 * _BITS, packed >> _BITS & _MASK, packed & _MASK)

    @property
    def has_gap(self) -> NDArray[np.bool_]:
        """Whether there was a pause before each of them: step 0 is the first event of an instance."""
        has_gap: NDArray[np.bool_] = self.is_there & (self.step != 0)
        return has_gap

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return them for some of the rows."""
        return type(self)(**{name: getattr(self, name)[:, rows] for name in self.__slots__})


def event_code(
    step: NDArray[np.int64], gap_log: NDArray[np.int64], latency_log: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Pack what is known of an event's rhythm into one code, which is not 0."""
    return ((step << 2 * _BITS | gap_log << _BITS | latency_log) + 1).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Now:
    """The rows to compare, one element a row in every array.

    Attributes:
        steps: int64 (rows, 3, STEPS), as in `SessionSummaries`: what the session has come to after the row.
        recent: The row's own event and the few before it.
        timestamp_ms: int64, event time.
        device: uint64 code of the event's device, 0 where it is not known.
        ip: uint64 code of its address, 0 where it is not known.
    """

    steps: NDArray[np.int64]
    recent: Recent
    timestamp_ms: NDArray[np.int64]
    device: NDArray[np.uint64]
    ip: NDArray[np.uint64]


def compared(now: Now, usual: NDArray[np.void]) -> Compared:
    """Compare rows with the profile of each one's user.

    Args:
        now: The rows.
        usual: `PROFILE` records, one a row, all of users of whom something is known.

    Returns:
        One array a feature, by name.
    """
    events = now.steps[:, 0]
    total = np.maximum(events.sum(axis=1), 1)
    bits = _bits(usual)
    in_known = np.where(usual["seen"] > 0, events, 0).sum(axis=1)
    gap_off, gap_shift = _deviation(now.steps[:, 1], events, _Normal.of(usual, "gap"))
    latency_off, latency_shift = _deviation(now.steps[:, 2], events, _Normal.of(usual, "latency"))
    return {
        "user_sessions": usual["sessions"].astype(np.int64),
        "user_gap_distance": _mean(gap_off, in_known, SCALE),
        "user_gap_shift": _mean(gap_shift, in_known, SCALE, nothing=0.0),
        "user_latency_distance": _mean(latency_off, in_known, SCALE),
        "user_latency_shift": _mean(latency_shift, in_known, SCALE, nothing=0.0),
        "user_step_surprise": (events * bits).sum(axis=1) / (total * PARTS),
        "user_new_step_ratio": (total - in_known) / total,
        **_recently(now.recent, usual, bits),
        "user_new_device": _is_new(now.device, usual["devices"]),
        "user_new_address": _is_new(now.ip, usual["addresses"]),
        "user_hour_share": _hour_share(now.timestamp_ms, usual["hours"]),
        "user_idle_days": np.maximum(now.timestamp_ms - usual["latest_ms"], 0) / _DAY_MS,
    }


class _Normal(NamedTuple):
    """What is normal for users at some steps, (users, steps): in how many sessions it was seen, value and spread."""

    seen: NDArray[np.int64]
    value: NDArray[np.int64]
    spread: NDArray[np.int64]

    @classmethod
    def of(cls, usual: NDArray[np.void], name: str) -> Self:
        """Take it from profiles: of the `gap` or the `latency`."""
        fields = ("seen", name, f"{name}_spread")
        return cls(*(usual[field].astype(np.int64) for field in fields))

    def at(self, user: NDArray[np.intp], step: NDArray[np.int64], known: NDArray[np.bool_]) -> Self:
        """Return it for one step of some users each; as never seen where that is not known."""
        seen, value, spread = (each[user, step] for each in self)
        return type(self)(np.where(known, seen, 0), value, spread)


def _deviation(
    sums: NDArray[np.int64], events: NDArray[np.int64] | int, normal: _Normal, axis: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how far sums of some events lie from the user's normal: in 1/256 of the spreads, and with its sign.

    The first is the scaled Manhattan distance of Araujo et al. (IEEE Trans. Signal Process. 53(2), 2005), which did
    best among the detectors that Killourhy and Maxion (DSN 2009) compared.
    """
    off = np.where(normal.seen > 0, sums * (SCALE // PARTS) - events * normal.value, 0)
    spread = normal.spread * normal.seen + PRIOR_SPREAD * PRIOR_SESSIONS
    scaled = np.abs(off) * SCALE * (normal.seen + PRIOR_SESSIONS) // spread
    return scaled.sum(axis=axis), off.sum(axis=axis)


def _bits(usual: NDArray[np.void]) -> NDArray[np.int64]:
    """Return -log2 of how often each user makes each step, in sixteenths of a bit: (users, steps)."""
    weight = usual["steps"].astype(np.int64) + _HALF_AN_EVENT
    return log_of(weight.sum(axis=1))[:, None] - log_of(weight)


def _recently(recent: Recent, usual: NDArray[np.void], bits: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Compare the last few events with what is normal for each of their steps."""
    user = np.arange(recent.step.shape[1])
    step = np.where(recent.is_there, recent.step, 0)
    found = {}
    for name, logs in (("gap", recent.gap_log), ("latency", recent.latency_log)):
        normal = _Normal.of(usual, name).at(user, step, recent.is_there)
        count = (normal.seen > 0).sum(axis=0)
        scaled, off = _deviation(logs, 1, normal, axis=0)
        found[f"user_recent_{name}_distance"] = _mean(scaled, count, SCALE)
        found[f"user_recent_{name}_shift"] = _mean(off, count, SCALE, nothing=0.0)
    total = np.where(recent.is_there, bits[user, step], 0).sum(axis=0)
    return found | {"user_recent_step_surprise": total / (recent.is_there.sum(axis=0) * PARTS)}


def _mean(
    total: NDArray[np.int64], events: NDArray[np.int64], scale: int, nothing: float = NOT_KNOWN
) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.where(events > 0, total / (np.maximum(events, 1) * scale), nothing)
    return mean


def _is_new(code: NDArray[np.uint64], known: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return 1 where a code is none of the user's, 0 where it is, `NOT_KNOWN` where either is not known."""
    is_known = (code != 0) & known.any(axis=1)
    is_new = ~(known == place_code(code)[:, None]).any(axis=1)
    return np.where(is_known, is_new.astype(np.float64), NOT_KNOWN)


def _hour_share(timestamp_ms: NDArray[np.int64], hours: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the share of the user's sessions that began within about an hour of this time of day."""
    hour, row = hour_of(timestamp_ms), np.arange(len(timestamp_ms))
    weights = hours.astype(np.int64)
    near = weights[row, hour] + weights[row, (hour + 1) % HOURS] + weights[row, (hour - 1) % HOURS]
    share: NDArray[np.float64] = near / np.maximum(weights.sum(axis=1), 1)
    return share
