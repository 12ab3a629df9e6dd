"""Sessions that wait until a profile may learn from them, and the learning: one shard's users.

A user's sessions may end in several partitions. They are learned from in the order in which they ended, whatever
partition was read first: a session waits until every partition is past its end. One that was flagged is not learned
from. A profile learns only from sessions that ended after all that it knows, so to repeat it changes nothing: after a
crash the profile in the store says itself what it has learned already.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.profile import fold, read
from features.session_ends import EndedSessions
from features.snapshot import pack, pack_strings, unpack, unpack_strings
from features.watermarks import Watermarks

_KIND = "learning"
_FLAGGED_MS = 48 * 3_600_000
"""So much event time after it was flagged a session is certainly over."""
MOST_WAITING = 20_000
"""Sessions of a shard that wait at most; while the store is away the oldest go, unlearned."""


class Learning:
    """What one shard has not learned yet.

    Args:
        expected: Partitions that have events: nothing is learned before each of them was heard of.
    """

    def __init__(self, expected: frozenset[int] = frozenset()) -> None:
        self._waiting = EndedSessions.none()
        self._ended_before = Watermarks(expected)
        self._flagged: dict[str, int] = {}
        """When sessions were flagged, event time."""

    def __len__(self) -> int:
        return len(self._waiting)

    def flag(self, session_id: str, at_ms: int) -> None:
        """Note that a session was flagged."""
        self._flagged[session_id] = max(at_ms, self._flagged.get(session_id, 0))

    def add(self, partition: int, ended_before_ms: int, ended: EndedSessions) -> int:
        """Take sessions that ended in a partition.

        Args:
            partition: Which one.
            ended_before_ms: All of its sessions with a latest event before this have been told.
            ended: The new ones.

        Returns:
            How many had to go because too many wait.
        """
        self._ended_before.note(partition, ended_before_ms)
        self._waiting = self._waiting.joined(ended)
        too_many = max(len(self._waiting) - MOST_WAITING, 0)
        if too_many:
            by_age = np.argsort(self._waiting.learned.latest_ms, kind="stable")
            self._waiting = self._waiting.take(np.sort(by_age[too_many:]))
        return too_many

    def due(self) -> EndedSessions:
        """Return what may be learned now, in order of the ends; it goes on waiting until `learned` is called."""
        low_ms = self._ended_before.lowest_ms
        latest_ms, ids = self._waiting.learned.latest_ms, self._waiting.session_ids
        rows = np.flatnonzero(latest_ms < low_ms)
        rows = rows[[ids[at] not in self._flagged for at in rows.tolist()]] if len(rows) else rows
        in_order = sorted(rows.tolist(), key=lambda at: (latest_ms[at], ids[at]))
        return self._waiting.take(np.array(in_order, dtype=np.intp))

    def learned(self) -> None:
        """Forget what was due."""
        low_ms = self._ended_before.lowest_ms
        self._waiting = self._waiting.take(np.flatnonzero(self._waiting.learned.latest_ms >= low_ms))
        self._flagged = {name: at for name, at in self._flagged.items() if at > low_ms - _FLAGGED_MS}

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        columns: dict[str, NDArray[Any]] = pack_strings(list(self._flagged))
        columns["flagged_ms"] = np.array(list(self._flagged.values()), dtype=np.int64)
        columns["waiting"] = np.frombuffer(self._waiting.to_bytes(), dtype=np.uint8)
        return pack(_KIND, columns, {"ended_before_ms": self._ended_before.to_json()})

    def restore(self, stored: bytes) -> None:
        """Take over what a snapshot holds.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        snapshot = unpack(_KIND, stored)
        self._waiting = EndedSessions.from_bytes(snapshot.columns["waiting"].tobytes())
        flagged_ms = snapshot.columns["flagged_ms"].tolist()
        self._flagged = dict(zip(unpack_strings(snapshot.columns), flagged_ms, strict=True))
        self._ended_before.restore(snapshot.scalars["ended_before_ms"])


def learn(stored: Mapping[str, bytes], ended: EndedSessions) -> dict[str, bytes]:
    """Return users' profiles after they have learned.

    Args:
        stored: The profiles by user, of all users of the sessions; empty where nothing is known.
        ended: In the order in which they ended. One that ended before what a profile knows already is left out.

    Raises:
        ProfileError: If something stored is no profile.
    """
    users = {user: at for at, user in enumerate(dict.fromkeys(ended.users))}
    profiles = read([stored[user] for user in users]).copy()
    of = np.array([users[user] for user in ended.users], dtype=np.intp)
    for rows in _turns(of):
        newer = rows[ended.learned.latest_ms[rows] > profiles["latest_ms"][of[rows]]]
        profiles[of[newer]] = fold(profiles[of[newer]], ended.learned.take(newer))
    return {user: profiles[at].tobytes() for user, at in users.items()}


def _turns(of: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return each user's first row, then each one's second, and so on."""
    order = np.argsort(of, kind="stable")
    first = np.flatnonzero(np.diff(of[order], prepend=-1))
    turn = np.arange(len(of)) - np.repeat(first, np.diff(first, append=len(of)))
    return [np.sort(order[turn == each]) for each in range(int(turn.max(initial=-1)) + 1)]
