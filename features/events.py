"""The columns of a batch of events as the running features see them: one element an event, numbers but for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.codes import string_codes
from features.recent import marks_of

ANSWERS = ("device_risk", "account_locked", "recent_failures", "input_others", "input_since_ms")
"""What the stores know of an event's device, user and input, in numbers; joined at the row, never carried."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """A batch of events, one element an event in every array.

    Attributes:
        session: uint64 code of the session id.
        mark: uint64, by which a repeat of the event is found; see `features/recent.py`.
        type: uint8, position in `schemas.events.EVENT_TYPES`.
        page: uint64 code of the normalised page.
        timestamp_ms: int64, event time.
        latency_ms: int64, 0 to 600,000.
        device: uint64 code of the fingerprint, 0 where it is empty.
        ip: uint64 code of the address in normal form, 0 where it could not be read.
        offset: int64, the record's offset in its partition.
        device_risk: float64, 0 to 1, 0 where nobody knows the device.
        account_locked: float64, 1 for a locked account.
        recent_failures: float64, the user's failed logins in the last hour.
        input_others: float64, other users who typed the same masked input in the last 24 h.
        input_since_ms: float64, when it was first typed by anybody, ms since 1970; 0 where nobody knows.
        profile: bytes, what is normal for the user (`features/profile.py`), empty where nothing is known.
    """

    session: NDArray[np.uint64]
    mark: NDArray[np.uint64]
    type: NDArray[np.uint8]
    page: NDArray[np.uint64]
    timestamp_ms: NDArray[np.int64]
    latency_ms: NDArray[np.int64]
    device: NDArray[np.uint64]
    ip: NDArray[np.uint64]
    offset: NDArray[np.int64]
    device_risk: NDArray[np.float64]
    account_locked: NDArray[np.float64]
    recent_failures: NDArray[np.float64]
    input_others: NDArray[np.float64]
    input_since_ms: NDArray[np.float64]
    profile: NDArray[np.object_]

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Self:
        """Take the columns from an event frame with normalised pages; absent answers and offsets are 0."""
        names = ("session_id", "event_id", "page", "device_fingerprint", "ip")
        session, event, page, device, ip = string_codes(frame, *names)
        kind, timestamp_ms = frame["event_type"].to_numpy(), frame["timestamp"].to_numpy()
        return cls(
            session=session,
            mark=marks_of(session, event, timestamp_ms, kind),
            type=kind,
            page=page,
            timestamp_ms=timestamp_ms,
            latency_ms=frame["latency_ms"].to_numpy(),
            device=device,
            ip=ip,
            offset=_column(frame, "offset", np.int64),
            **{name: _column(frame, name, np.float64) for name in ANSWERS},
            profile=_profiles(frame),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the events of several batches, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__})

    def take(self, order: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        """Return the same events in another order, or some of them."""
        return type(self)(**{name: getattr(self, name)[order] for name in self.__slots__})


def _column(frame: pl.DataFrame, name: str, dtype: type) -> NDArray[Any]:
    if name in frame.columns:
        return frame[name].to_numpy()
    return np.zeros(frame.height, dtype=dtype)


def _profiles(frame: pl.DataFrame) -> NDArray[np.object_]:
    profiles = np.full(frame.height, b"", dtype=np.object_)
    if "profile" in frame.columns:
        profiles[:] = frame["profile"].fill_null(b"").to_list()
    return profiles
