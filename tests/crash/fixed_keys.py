"""What Redis knows of devices and users in the one test that has such keys: a fixed answer by name, never changed.

The other tests run without keys, because an answer that comes too late under load would differ from the oracle's.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from tests.crash.plain_events import EventReader, Record, RefusedError

_AT_ONCE = 2_000
_KNOWN_BELOW = 200


def answers(record: Record) -> dict[str, float]:
    """Return the features that an event has from the stores."""
    device, user = record["device_fingerprint"], record["user_id"]
    status = _status(user)
    return {
        "device_risk": float(_risk(device) or 0.0) if device else 0.0,
        "account_locked": float(status == "locked"),
        "recent_failures": float(_failures(user) or 0),
    }


def write_keys(client: Any, values: Iterable[bytes | None], now_ms: int) -> int:
    """Write the keys of everybody in a stream; return how many."""
    reader, keys = EventReader(), dict[str, str]()
    for value in values:
        try:
            keys |= _keys_of(reader.read(value, now_ms))
        except RefusedError:
            continue
    pairs = list(keys.items())
    for start in range(0, len(pairs), _AT_ONCE):
        client.mset(dict(pairs[start : start + _AT_ONCE]))
    return len(pairs)


def _keys_of(record: Record) -> Iterator[tuple[str, str]]:
    device, user = record["device_fingerprint"], record["user_id"]
    named = {
        f"risk:{device}:score": _risk(device) if device else None,
        f"account:{user}:status": _status(user),
        f"user:{user}:login_failures": _failures(user),
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
