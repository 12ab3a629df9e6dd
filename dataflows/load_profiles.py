"""`python -m dataflows.load_profiles`: fill Redis with what is normal for each user, from stored events.

For a first day with history: afterwards no customer of many years looks like a new one. A profile that Redis has from
later sessions stays as it is, so it does no harm to run it twice, or beside the running service.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import redis
from numpy.typing import NDArray
from redis.exceptions import RedisError

from dataflows.connectors.profile_store import store_profiles, stored_profiles
from dataflows.settings import Settings, SettingsError
from features.profile import read
from model.command_line import argument_parser, refuse, say
from model.history import TOPIC, HistoryError, read_stored
from model.labels import LabelsError, read_labels
from model.profiles import profiles_after

PROG = "python -m dataflows.load_profiles"
_AT_ONCE = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0; 1 where Redis does not answer; 2 where the arguments make no sense.
    """
    given = _parsed(arguments)
    try:
        settings = Settings.from_env(os.environ)
        frame, left_out = read_stored(given.events)
        fraud = None
        if given.labels:
            labels = read_labels(given.labels)
            fraud = labels.filter(labels["label"] == 1).select("session_id", "known_at")
    except (SettingsError, HistoryError, LabelsError) as error:
        return refuse(PROG, error)
    users, profiles = profiles_after(frame, fraud)
    say(f"{frame.height} events, left out: {dict(left_out) or 'none'}; {len(users)} users have a normal")
    try:
        with redis.Redis.from_url(settings.redis_url) as client:
            written = write_profiles(client, users, profiles)
    except (RedisError, OSError) as error:
        sys.stderr.write(f"{PROG}: Redis does not answer: {error}\n")
        return 1
    say(f"{written} profiles written, {len(users) - written} were there from later sessions")
    return 0


def write_profiles(client: redis.Redis, users: Sequence[str], profiles: NDArray[np.void]) -> int:
    """Write the profiles that Redis does not have from later sessions; return how many.

    Args:
        client: Of Redis.
        users: Their ids.
        profiles: `PROFILE` records, one a user.
    """
    written = 0
    for start in range(0, len(users), _AT_ONCE):
        some = users[start : start + _AT_ONCE]
        there = read(list(stored_profiles(client, some).values()))
        newer = {
            user: profile.tobytes()
            for user, profile, stored in zip(some, profiles[start : start + _AT_ONCE], there, strict=True)
            if stored["latest_ms"] < profile["latest_ms"]
        }
        store_profiles(client, newer)
        written += len(newer)
    return written


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Fill Redis with what is normal for each user, from stored events.")
    add = parser.add_argument
    add("--events", required=True, help=f"file or directory of stored events, or {TOPIC}NAME")
    add("--labels", type=Path, help="csv or Parquet: session_id, label, known_at; nothing is learned of fraud")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
