"""The profiles of users in Redis: read, learned further, written back in one step.

Redis is where profiles live; no state of ours has a second copy. A profile learns only from what ended after all that
it knows, so whatever is repeated after a crash or a failed call changes nothing.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.exceptions import RedisError

from dataflows.connectors import store_keys
from features.profile import ProfileError, read
from observability import metrics
from observability.health import Readiness

logger = logging.getLogger("fraud.profiles")

TTL_SECONDS = 180 * 86_400
"""Profiles of users who stay away longer go; what was normal half a year ago is no longer."""
_CALL_SECONDS = 2.0
_REST_SECONDS = 1.0


class ProfileStore:
    """Profiles by user.

    Args:
        url: Where Redis is.
        readiness: Told while it does not answer.
    """

    def __init__(self, url: str, readiness: Readiness) -> None:
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=_CALL_SECONDS, socket_connect_timeout=_CALL_SECONDS, retry=None
        )
        self._readiness = readiness
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether it has just failed and is not to be asked yet."""
        return time.monotonic() < self._rests_until

    def read(self, users: Sequence[str]) -> dict[str, bytes] | None:
        """Return the profile of each user, empty where there is none; None where Redis does not answer.

        What is no profile is counted and taken as none.
        """
        try:
            return stored_profiles(self._client, users)
        except (RedisError, OSError) as error:
            self._failed(error)
            return None

    def write(self, profiles: Mapping[str, bytes]) -> bool:
        """Write profiles; return whether Redis took them."""
        try:
            store_profiles(self._client, profiles)
        except (RedisError, OSError) as error:
            self._failed(error)
            return False
        self._readiness.report("redis profiles")
        return True

    def _failed(self, error: Exception) -> None:
        metrics.REDIS_ERRORS.labels("profiles").inc()
        self._readiness.report("redis profiles", f"{type(error).__name__}: nothing is learned, sessions wait")
        self._rests_until = time.monotonic() + _REST_SECONDS


def stored_profiles(client: Any, users: Sequence[str]) -> dict[str, bytes]:
    """Return the profile of each user, empty where there is none, or something that is no profile: that is counted.

    Raises:
        RedisError: If Redis does not answer.
    """
    values: list[bytes | None] = client.mget([store_keys.PROFILE.format(user) for user in users])
    return {user: _sound(value) for user, value in zip(users, values, strict=True)}


def store_profiles(client: Any, profiles: Mapping[str, bytes]) -> None:
    """Write profiles, in one round trip; raises `RedisError` if Redis does not take them."""
    with client.pipeline(transaction=False) as pipeline:
        for user, profile in profiles.items():
            pipeline.set(store_keys.PROFILE.format(user), profile, ex=TTL_SECONDS)
        pipeline.execute()


def _sound(value: bytes | None) -> bytes:
    try:
        read([value or b""])
    except ProfileError:
        metrics.ANSWERS_REFUSED.labels(store_keys.PROFILE).inc()
        return b""
    return value or b""
