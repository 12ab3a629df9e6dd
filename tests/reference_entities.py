"""What the risk flow should have put into Redis, by looking at all events again: plain, slow, and the specification.

A value is of the latest minute in which its entity was seen. Windows are of whole minutes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from xxhash import xxh64_intdigest

HOUR, DAY = 60, 24 * 60

Events = list[Mapping[str, Any]]


def entity_values(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what Redis holds after these events, by key; records with the fields of BankingUIEvent, admitted ones."""
    devices, users, inputs = (defaultdict[str, Events](list) for _ in range(3))
    for event in events:
        devices[event["device_fingerprint"]].append(event)
        users[event["user_id"]].append(event)
        if event["event_type"] == "input":
            inputs[event["input_hash"] or ""].append(event)
    values = {f"risk:{name}:score": _risk(seen) for name, seen in devices.items() if name}
    values |= {f"user:{name}:login_failures": _text(_failures(seen)) for name, seen in users.items() if name}
    values |= {f"input:{name}:users": _input(seen) for name, seen in inputs.items() if name}
    return {key: value for key, value in values.items() if value}


def _minute(event: Mapping[str, Any]) -> int:
    return int(event["timestamp"]) // 60_000


def _within(events: Events, minutes: int) -> Events:
    now = max(map(_minute, events))
    return [event for event in events if now - _minute(event) < minutes]


def _failures(events: Events) -> int:
    return min(sum(event["event_type"] == "login_failed" for event in _within(events, HOUR)), 256)


def _text(count: int) -> str:
    return str(count) if count else ""


def _newest(events: Events, field: str, minutes: int) -> list[str]:
    """Return the names in a field that were seen last, the newest first, at most 256."""
    latest: dict[str, int] = {}
    for event in events:
        latest[event[field]] = max(_minute(event), latest.get(event[field], 0))
    now = max(latest.values())
    names = sorted(latest, key=lambda name: (latest[name], xxh64_intdigest(name.encode())), reverse=True)
    return [name for name in names if now - latest[name] < minutes][:256]


def _risk(events: Events) -> str:
    users, sessions = len(_newest(events, "user_id", DAY)), len(_newest(events, "session_id", HOUR))
    return device_risk_text(users, sessions, _failures(events))


def device_risk_text(users: int, sessions: int, failures: int) -> str:
    """Return a device's risk as it is stored, empty for none."""
    by_users = 0.8 * min(max(users - 3, 0) / 17, 1)
    by_sessions = 0.5 * min(max(sessions - 6, 0) / 24, 1)
    by_failures = 0.7 * min(max(failures - 4, 0) / 20, 1)
    risk = round(1 - (1 - by_users) * (1 - by_sessions) * (1 - by_failures), 3)
    return f"{risk:g}" if risk else ""


def _input(events: Events) -> str:
    users = _newest(events, "user_id", DAY)
    since = min(map(_minute, _within_periods(events))) * 60_000
    codes = [f"{xxh64_intdigest(user.encode()) & 0xFFFFFFFF:08x}" if user else "00000000" for user in users[:4]]
    return " ".join([str(since), str(len(users)), *codes])


def _within_periods(events: Events) -> Events:
    """Return the events of the periods of ten days whose latest one is at most 60 days ago."""
    now = max(map(_minute, events))
    latest: dict[int, int] = {}
    for event in events:
        period = _minute(event) // (10 * DAY)
        latest[period] = max(_minute(event), latest.get(period, 0))
    return [event for event in events if now - latest[_minute(event) // (10 * DAY)] < 60 * DAY]
