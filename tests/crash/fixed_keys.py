"""What Redis knows of devices, users and inputs in the one test with such keys: a fixed answer by name, never changed.

The other tests run without keys, because an answer that comes too late under load would differ from the oracle's.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from tests.crash.plain_events import EventReader, Record, RefusedError
from tests.streams import PROFILES

_AT_ONCE = 2_000
_KNOWN_BELOW = 200


def answers(record: Record) -> dict[str, float | bytes]:
    """Return the features that an event has from the stores."""
    device, user = record["device_fingerprint"], record["user_id"]
    status = _status(user)
    return {
        "device_risk": float(_risk(device) or 0.0) if device else 0.0,
        "account_locked": float(status == "locked"),
        "recent_failures": float(_failures(user) or 0),
        "input_others": float((_input(record["input_hash"]) or "0 0").split()[1]),
        "input_since_ms": float((_input(record["input_hash"]) or "0").split()[0]),
        "profile": _profile(user) or b"",
    }


def write_keys(client: Any, values: Iterable[bytes | None], now_ms: int) -> int:
    """Write the keys of everybody in a stream; return how many."""
    reader, keys = EventReader(), dict[str, str | bytes]()
    for value in values:
        try:
            keys |= _keys_of(reader.read(value, now_ms))
        except RefusedError:
            continue
    pairs = list(keys.items())
    for start in range(0, len(pairs), _AT_ONCE):
        client.mset(dict(pairs[start : start + _AT_ONCE]))
    return len(pairs)


def _keys_of(record: Record) -> Iterator[tuple[str, str | bytes]]:
    device, user = record["device_fingerprint"], record["user_id"]
    named: dict[str, str | bytes | None] = {
        f"risk:{device}:score": _risk(device) if device else None,
        f"account:{user}:status": _status(user),
        f"user:{user}:login_failures": _failures(user),
        f"input:{record['input_hash']}:users": _input(record["input_hash"]),
        f"profile:{user}": _profile(user),
    }
    yield from ((key, value) for key, value in named.items() if value is not None)


def _bytes_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _risk(device: str) -> str | None:
    hashed = _bytes_of(device)
    return repr(hashed[1] / 255) if hashed[0] < _KNOWN_BELOW else None


def _status(user: str) -> str | None:
    hashed = _bytes_of(user)
    return ("locked" if hashed[1] < 60 else "active") if hashed[0] < _KNOWN_BELOW else None


def _failures(user: str) -> str | None:
    hashed = _bytes_of(f"{user}/failures")
    return str(hashed[1] % 5) if hashed[0] < _KNOWN_BELOW else None


def _input(text: str | None) -> str | None:
    """Return since when it is typed, by how many, and the code of one of them, who is none of the stream's users."""
    hashed = _bytes_of(text or "")
    if not text or hashed[0] >= _KNOWN_BELOW:
        return None
    since_ms = 1_749_000_000_000 + hashed[2] * 3_600_000
    return f"{since_ms} {1 + hashed[1] % 40} 00000001"


def _profile(user: str) -> bytes | None:
    return PROFILES[_bytes_of(f"{user}/profile")[0] % len(PROFILES)] or None
