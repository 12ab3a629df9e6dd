"""The specification of what is normal for a user: plain Python, one session and one step at a time, whole numbers.

As in `tests/reference.py`, nothing of ours is imported: a mistake here or there shows as a difference.
"""

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, Self

from xxhash import xxh64_intdigest

STEPS = 32
HOURS = 24
PLACES = 8
MOST_A_STEP = 192
NOT_KNOWN = -1.0
QUICK_GAP_MS = 100
_WRAP = 2**64
USUAL = 8
_RECORD = struct.Struct(f"<HHq{STEPS}B" + 5 * f"{STEPS}H" + f"{HOURS}H{PLACES}I{PLACES}I{USUAL}I")


@cache
def reference_log(number: int) -> int:
    """Give floor(16 * log2(1 + number)), by whole numbers alone."""
    logarithm = 0
    while (1 + number) ** 16 >= 2 ** (logarithm + 1):
        logarithm += 1
    return logarithm


def reference_code(text: str) -> int:
    """Give the code of a string: XXH64 of its bytes, 0 for the empty one."""
    return max(xxh64_intdigest(text.encode()), 1) if text else 0


def reference_place(text: str) -> int:
    """Give what a profile knows a device or an address by."""
    code = reference_code(text)
    return (code % 2**32 or 1) if code else 0


def _mixed(left: int, right: int) -> int:
    code = (left * 0x9E3779B97F4A7C15 + right) % _WRAP
    code = (code ^ code >> 30) * 0xBF58476D1CE4E5B9 % _WRAP
    code = (code ^ code >> 27) * 0x94D049BB133111EB % _WRAP
    return code ^ code >> 31


def reference_step(previous_page: str, page: str, event_type: int) -> int:
    """Give the step of an event that is not its session's first; that one's is 0."""
    code = _mixed(_mixed(reference_code(previous_page), reference_code(page)), event_type)
    return 1 + code % (STEPS - 1)


@dataclass(slots=True)
class ReferenceSteps:
    """The steps of one session: how many of each, and the logarithms of their pauses and delays."""

    count: Counter[int] = field(default_factory=Counter)
    gap: Counter[int] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)

    def add(self, step: int, gap_log: int, latency_log: int) -> None:
        """Count an event; of each step only the first ones."""
        if self.count[step] < MOST_A_STEP:
            self.count[step] += 1
            self.gap[step] += gap_log
            self.latency[step] += latency_log


class ReferenceEvent(NamedTuple):
    """What is remembered of one of the last events."""

    step: int
    gap_log: int
    latency_log: int


@dataclass(slots=True)
class ReferenceRhythm:
    """The rhythm of one session: logarithms of its pauses and delays, and its steps."""

    events: int = 0
    gap_log_sum: int = 0
    gap_log_square_sum: int = 0
    latency_log_sum: int = 0
    latency_log_square_sum: int = 0
    last_gap_log: int | None = None
    equal_gaps: int = 0
    quick_gaps: int = 0
    last_page: str = ""
    steps: ReferenceSteps = field(default_factory=ReferenceSteps)
    recent: list[ReferenceEvent] = field(default_factory=list)
    """The last five events, the newest first."""

    def add(self, gap_ms: int | None, latency_ms: int, page: str, event_type: int) -> None:
        """Take an event; the first one has no gap."""
        gap_log, latency_log = reference_log(gap_ms or 0), reference_log(latency_ms)
        self.events += 1
        self.latency_log_sum += latency_log
        self.latency_log_square_sum += latency_log * latency_log
        step = 0
        if gap_ms is not None:
            self.gap_log_sum += gap_log
            self.gap_log_square_sum += gap_log * gap_log
            self.equal_gaps += gap_log == self.last_gap_log
            self.quick_gaps += gap_ms < QUICK_GAP_MS
            self.last_gap_log = gap_log
            step = reference_step(self.last_page, page, event_type)
        self.steps.add(step, gap_log, latency_log)
        self.recent = [ReferenceEvent(step, gap_log, latency_log), *self.recent][:5]
        self.last_page = page

    def features(self) -> list[float]:
        """Give the features of the rhythm, in their order."""
        gaps = float(max(self.events - 1, 1))
        return [
            _spread(self.gap_log_sum, self.gap_log_square_sum, gaps) / 16,
            self.equal_gaps / gaps,
            self.quick_gaps / gaps,
            _spread(self.latency_log_sum, self.latency_log_square_sum, float(self.events)) / 16,
            _rise([event.gap_log for event in self.recent], self.gap_log_sum / self.events),
            _rise([event.latency_log for event in self.recent], self.latency_log_sum / self.events),
        ]


def _rise(recent: list[int], mean: float) -> float:
    return (sum(recent) / len(recent) - mean) / 16


def _spread(total: int, squares: int, count: float) -> float:
    mean = total / count
    return math.sqrt(max(squares / count - mean * mean, 0.0))


@dataclass(slots=True)
class ReferenceProfile:
    """What is normal for one user."""

    sessions: int = 0
    latest_ms: int = 0
    seen: list[int] = field(default_factory=lambda: [0] * STEPS)
    steps: list[int] = field(default_factory=lambda: [0] * STEPS)
    gap: list[int] = field(default_factory=lambda: [0] * STEPS)
    gap_spread: list[int] = field(default_factory=lambda: [0] * STEPS)
    latency: list[int] = field(default_factory=lambda: [0] * STEPS)
    latency_spread: list[int] = field(default_factory=lambda: [0] * STEPS)
    hours: list[int] = field(default_factory=lambda: [0] * HOURS)
    devices: list[int] = field(default_factory=lambda: [0] * PLACES)
    addresses: list[int] = field(default_factory=lambda: [0] * PLACES)
    usual: list[int] = field(default_factory=lambda: [0] * USUAL)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Read a record, whose version is 1."""
        version, sessions, latest_ms, *rest = _RECORD.unpack(stored)
        assert version == 1
        made = cls(sessions, latest_ms)
        at = 0
        for name in cls.__slots__[2:]:
            size = len(getattr(made, name))
            setattr(made, name, rest[at : at + size])
            at += size
        return made

    def to_bytes(self) -> bytes:
        """Write the record."""
        lists = (number for name in self.__slots__[2:] for number in getattr(self, name))
        return _RECORD.pack(1, self.sessions, self.latest_ms, *lists)

    def learn(
        self, steps: ReferenceSteps, first_ms: int, latest_ms: int, device: str, ip: str, usual: list[int]
    ) -> None:
        """Take in a session that is over; `usual` are its own values, in 1/256 of their units."""
        self.sessions = min(self.sessions + 1, 65_535)
        self.latest_ms = max(self.latest_ms, latest_ms)
        for step in range(STEPS):
            count = steps.count[step]
            self.steps[step] = min(self.steps[step] - self.steps[step] // 16 + 16 * count, 65_535)
            if count:
                self._learn_normal(step, "gap", steps.gap[step], count)
                self._learn_normal(step, "latency", steps.latency[step], count)
                self.seen[step] = min(self.seen[step] + 1, 255)
        share = min(self.sessions, 16)
        self.usual = [old + (min(new, 2**24 - 1) - old) // share for old, new in zip(self.usual, usual, strict=True)]
        self.hours = [weight - weight // 16 for weight in self.hours]
        self.hours[first_ms // 3_600_000 % HOURS] += 256
        self.devices = _newest_first(self.devices, reference_place(device))
        self.addresses = _newest_first(self.addresses, reference_place(ip))

    def _learn_normal(self, step: int, name: str, total: int, count: int) -> None:
        """Move the normal value and the spread towards the session: by an equal share first, later by 1/16."""
        normal, spread, seen = getattr(self, name), getattr(self, f"{name}_spread"), self.seen[step]
        off = total * 16 // count - normal[step]
        if seen:
            spread[step] += (abs(off) - spread[step]) // min(seen, 16)
        normal[step] += off // min(seen + 1, 16)

    def compare(self, rhythm: ReferenceRhythm, timestamp_ms: int, device: str, ip: str) -> dict[str, float]:
        """Give the features of an event that know the user."""
        steps = rhythm.steps
        total = sum(steps.count.values())
        known = [step for step in range(STEPS) if self.seen[step]]
        in_known = sum(steps.count[step] for step in known)
        gap = self._deviation(known, steps.count, "gap", steps.gap)
        latency = self._deviation(known, steps.count, "latency", steps.latency)
        weight = [number + 8 for number in self.steps]
        of_all = reference_log(sum(weight))
        surprise = sum(steps.count[step] * (of_all - reference_log(weight[step])) for step in range(STEPS))
        hour = timestamp_ms // 3_600_000 % HOURS
        near = sum(self.hours[(hour + off) % HOURS] for off in (-1, 0, 1))
        return {
            "user_sessions": float(self.sessions),
            "user_gap_distance": gap[0] / (in_known * 256) if in_known else NOT_KNOWN,
            "user_gap_shift": gap[1] / (in_known * 256) if in_known else 0.0,
            "user_latency_distance": latency[0] / (in_known * 256) if in_known else NOT_KNOWN,
            "user_latency_shift": latency[1] / (in_known * 256) if in_known else 0.0,
            "user_step_surprise": surprise / (total * 16),
            "user_new_step_ratio": (total - in_known) / total,
            **self._compare_recent(rhythm.recent, of_all),
            "user_new_device": _is_new(device, self.devices),
            "user_new_address": _is_new(ip, self.addresses),
            "user_hour_share": near / max(sum(self.hours), 1),
            "user_idle_days": max(timestamp_ms - self.latest_ms, 0) / 86_400_000,
        }

    def _compare_recent(self, recent: list[ReferenceEvent], of_all: int) -> dict[str, float]:
        """Give the same for the last five events, each for itself."""
        known = [event for event in recent if self.seen[event.step]]
        found = {}
        for name in ("gap", "latency"):
            scaled = shift = 0
            for event in known:
                off = getattr(event, f"{name}_log") * 16 - getattr(self, name)[event.step]
                seen = self.seen[event.step]
                scaled += abs(off) * 256 * (seen + 4) // (getattr(self, f"{name}_spread")[event.step] * seen + 128 * 4)
                shift += off
            found[f"user_recent_{name}_distance"] = scaled / (len(known) * 256) if known else NOT_KNOWN
            found[f"user_recent_{name}_shift"] = shift / (len(known) * 256) if known else 0.0
        surprise = sum(of_all - reference_log(self.steps[event.step] + 8) for event in recent)
        return found | {"user_recent_step_surprise": surprise / (len(recent) * 16)}

    def _deviation(
        self, known: list[int], count: Mapping[int, int], name: str, total: Mapping[int, int]
    ) -> tuple[int, int]:
        """Give how far a session is from normal: in 1/256 of the spreads, and in 1/256 of a doubling with its sign."""
        scaled = shift = 0
        for step in known:
            off = total[step] * 16 - count[step] * getattr(self, name)[step]
            spread = getattr(self, f"{name}_spread")[step] * self.seen[step] + 128 * 4
            scaled += abs(off) * 256 * (self.seen[step] + 4) // spread
            shift += off
        return scaled, shift


NOTHING_KNOWN = {
    "user_sessions": 0.0,
    "user_gap_distance": NOT_KNOWN,
    "user_gap_shift": 0.0,
    "user_latency_distance": NOT_KNOWN,
    "user_latency_shift": 0.0,
    "user_step_surprise": NOT_KNOWN,
    "user_new_step_ratio": NOT_KNOWN,
    "user_recent_gap_distance": NOT_KNOWN,
    "user_recent_gap_shift": 0.0,
    "user_recent_latency_distance": NOT_KNOWN,
    "user_recent_latency_shift": 0.0,
    "user_recent_step_surprise": NOT_KNOWN,
    "user_new_device": NOT_KNOWN,
    "user_new_address": NOT_KNOWN,
    "user_hour_share": NOT_KNOWN,
    "user_idle_days": NOT_KNOWN,
}
"""The features of an event of whose user nothing is known, in their order."""


def reference_age_days(since_ms: float, timestamp_ms: int) -> float:
    """Give for how many days an input has been known to anybody."""
    return float(min(max(timestamp_ms - since_ms, 0.0) // 86_400_000, 30)) if since_ms > 0 else NOT_KNOWN


def reference_habits(profile: bytes, rhythm: ReferenceRhythm, timestamp_ms: int, device: str, ip: str) -> list[float]:
    """Give the features of an event that compare with its user's profile, which is empty where nothing is known."""
    if not profile:
        return list(NOTHING_KNOWN.values())
    return list(ReferenceProfile.from_bytes(profile).compare(rhythm, timestamp_ms, device, ip).values())


def _newest_first(known: list[int], place: int) -> list[int]:
    if not place:
        return known
    return [place, *(each for each in known if each != place)][:PLACES]


def _is_new(text: str, known: list[int]) -> float:
    place = reference_place(text)
    if not place or not any(known):
        return NOT_KNOWN
    return float(place not in known)
