"""What was normal for each user when each of their sessions began, built from a stored stream.

A profile learns from a session when it is over, unless that session was known to be fraud by the time of the user's
next one. It never knows what came later: neither events nor labels from after a session's start change what that
session is compared with. `features.profile.fold` does the learning, here as in the live service.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.live_sessions import OFFLINE_BATCH, LiveSessions
from features.pages import with_normal_pages
from features.profile import NOBODY, SessionSummaries, fold

NEVER = np.iinfo(np.int64).max
_BEGINS, _ENDS = 0, 1


@dataclass(frozen=True, slots=True)
class _History:
    """The sessions of a stream, one element a session in every array.

    Attributes:
        users: The ids of the users, in order.
        user: Their user's number, -1 where the user is not known.
        fraud_known_ms: When it became known that a session was fraud; `NEVER` for the others.
    """

    session_ids: list[str]
    users: list[str]
    user: NDArray[np.int64]
    fraud_known_ms: NDArray[np.int64]
    learned: SessionSummaries


def with_profiles(frame: pl.DataFrame, fraud: pl.DataFrame | None = None) -> pl.DataFrame:
    """Add the column `profile` to a stream: what was normal for the user when the session began.

    Args:
        frame: Events in stream order, columns of `EVENT_FRAME`, pages as received.
        fraud: Sessions that were fraud: `session_id`, and `known_at` (ms), when that became known. None: none were.

    Returns:
        The frame with a Binary column, empty where nothing was known of the user.
    """
    history = _history_of(frame, fraud)
    at_start, _ = _learned(history)
    profiles = pl.DataFrame({"session_id": history.session_ids, "profile": at_start})
    return frame.join(profiles, on="session_id", how="left", maintain_order="left")


def profiles_after(frame: pl.DataFrame, fraud: pl.DataFrame | None = None) -> tuple[list[str], NDArray[np.void]]:
    """Return what is normal for each user at the end of a stream: their ids, and a `PROFILE` record for each.

    Args:
        frame: As for `with_profiles`.
        fraud: As for `with_profiles`; nothing is learned of these sessions, whenever it became known.
    """
    always_known = None if fraud is None else fraud.with_columns(known_at=pl.lit(0, pl.Int64))
    history = _history_of(frame, always_known)
    _, profiles = _learned(history)
    has_one = profiles["sessions"] > 0
    return [user for user, is_known in zip(history.users, has_one, strict=True) if is_known], profiles[has_one]


def _history_of(frame: pl.DataFrame, fraud: pl.DataFrame | None) -> _History:
    sessions = LiveSessions(max_live=frame.height + 1)
    for part in with_normal_pages(frame).iter_slices(OFFLINE_BATCH):
        sessions.update(part, None)
    owners = frame.group_by("session_id", maintain_order=True).agg(pl.col("user_id").first())
    session_ids = owners["session_id"].to_list()
    users = owners["user_id"].unique().sort().to_list()
    number = {user: place for place, user in enumerate(users) if user}
    user = np.array([number.get(user, -1) for user in owners["user_id"]], dtype=np.int64)
    known = np.full(len(session_ids), NEVER)
    if fraud is not None:
        first = fraud.group_by("session_id").agg(pl.col("known_at").min())
        joined = owners.join(first, on="session_id", how="left", maintain_order="left")
        known = joined["known_at"].cast(pl.Int64).fill_null(NEVER).to_numpy()
    return _History(session_ids, users, user, known, sessions.summaries(session_ids))


def _learned(history: _History) -> tuple[list[bytes], NDArray[np.void]]:
    """Return the profile of each session's user when it began, and every user's at the end."""
    found = [b""] * len(history.session_ids)
    profiles = np.repeat(NOBODY, len(history.users))
    for what, sessions in _in_turns(history):
        users = history.user[sessions]
        if what == _ENDS:
            profiles[users] = fold(profiles[users], history.learned.take(sessions))
            continue
        has_one = profiles["sessions"][users] > 0
        for session, profile in zip(sessions[has_one].tolist(), profiles[users[has_one]], strict=True):
            found[session] = profile.tobytes()
    return found, profiles


def _in_turns(history: _History) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield sessions that begin, and sessions to learn from, no user twice at a time and each user's in their order.

    All users take their first turn, then all their second one, and so on: thousands of users are done at once.
    """
    known = np.flatnonzero(history.user >= 0)
    session = np.concatenate([known, known])
    what = np.repeat([_BEGINS, _ENDS], len(known))
    when = np.concatenate([history.learned.first_ms[known], history.learned.latest_ms[known]])
    order = np.lexsort((session, what, when, history.user[session]))  # what ends as another begins comes after it
    session, what, when = session[order], what[order], when[order]
    known_ms = history.fraud_known_ms[session]
    is_fraud_by_then = (known_ms != NEVER) & (known_ms <= _next_start(history.user[session], what, when))
    keep = ~((what == _ENDS) & is_fraud_by_then)
    session, what = session[keep], what[keep]
    user = history.user[session]
    first = np.flatnonzero(np.diff(user, prepend=-1))
    turn = np.arange(len(user)) - np.repeat(first, np.diff(first, append=len(user)))
    by_turn = np.lexsort((what, turn))
    borders = np.flatnonzero(np.diff(turn[by_turn] * 2 + what[by_turn], prepend=-1))
    for rows in np.split(by_turn, borders[1:]):
        if len(rows):
            yield int(what[rows[0]]), session[rows]


def _next_start(user: NDArray[np.int64], what: NDArray[np.int64], when: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each turn, when the same user's next session begins; the largest time where none does."""
    nobody, begins = -2, np.flatnonzero(what == _BEGINS)
    following = np.append(begins, len(user))[np.searchsorted(begins, np.arange(len(user)))]
    is_same = np.append(user, nobody)[following] == user
    return np.where(is_same, np.append(when, NEVER)[following], NEVER)
