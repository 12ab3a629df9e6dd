"""The thread that writes to Redis: one connection, everything pending once a flush interval.

The flow never waits for Redis. It shares the interpreter with this thread, though: the more there is to write, the
longer the thread rests before it writes again, so that it takes a tenth of the time, and of a session that changes ten
times meanwhile only the newest vector is written. What is not acknowledged stays in an outbox, and goes into the
snapshot of the sink that owns it; all values are absolute, so writing one twice changes nothing.
"""

import logging
import threading
import time
from typing import Any, Protocol

import redis
from redis.exceptions import RedisError, ResponseError

from dataflows.ending import StartError
from observability import metrics
from observability.health import Readiness

logger = logging.getLogger("fraud.redis")

CALL_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_LITTLE = 0.1
"""The share of the time that writing may take before its rests are long."""
_REST, _MOST_REST_SECONDS = 9, 1.0
"""How many times as long as it has worked the thread rests when it works much, and the longest rest."""
_DRAIN_SECONDS = 0.3
_SETTLE_SECONDS = 1.0
_WRONG_TYPE = "WRONGTYPE"


class Link:
    """One connection to Redis, for pipelines. After an error it is of no use any more.

    Args:
        pool: Of redis-py, which sees to TLS, passwords and databases.

    Raises:
        RedisError: If there is no connection to be had.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = pool.get_connection()
        self.id = self._id()
        """Redis' own number for the connection, None where we may not ask."""

    def call(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands in one go and return their replies; errors as for `send`."""
        packed: list[bytes] = self._connection.pack_commands(commands)
        return self.send(packed, len(commands))

    def send(self, packed: list[bytes], replies: int) -> list[Any]:
        """Send what is commands already, as they go over the wire, and return so many replies.

        A reply that says that a key holds another type is counted and returned, not raised: somebody else wrote
        there, and the others' values must not wait for that.

        Raises:
            RedisError: If Redis refused a command for any other reason, or has not answered in time.
        """
        self._connection.send_packed_command(packed)
        answers = [self._answer() for _ in range(replies)]
        for answer in answers:
            if isinstance(answer, ResponseError):
                if _WRONG_TYPE not in str(answer):
                    raise answer
                metrics.REDIS_ERRORS.labels("wrong_type").inc()
        return answers

    def _id(self) -> int | None:
        try:
            return int(self.call(("CLIENT", "ID"))[0])
        except ResponseError:
            return None
        except (RedisError, OSError):
            self.close()
            raise

    def end_other(self, link_id: int) -> None:
        """End a connection that we gave up, so that nothing it still holds is executed from now on.

        A Redis that hung has what we sent before we lost patience, and would execute it when it comes round: after
        what we have written meanwhile. Where we may not end a connection (it takes the permission for CLIENT KILL),
        Redis gets a moment in which it answers us and executes the old before we send the new.
        """
        try:
            self.call(("CLIENT", "KILL", "ID", link_id))
        except ResponseError:
            time.sleep(_SETTLE_SECONDS)

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def close(self) -> None:
        """Drop the connection, and give it back: a pool lends only so many."""
        self._connection.disconnect()
        self._pool.release(self._connection)


class Outbox(Protocol):
    """Something that has values to write."""

    def connected(self) -> None:
        """Note that the connection is new: Redis may have lost what it was given before."""

    def write_to(self, link: Link) -> None:
        """Write everything pending; keep it if the call fails.

        Raises:
            RedisError: If Redis did not take it.
        """


class RedisWriter:
    """Serves the outboxes of this process.

    Args:
        url: Where Redis is.
        flush_interval_ms: How often what is pending is written.
        readiness: Told while Redis does not answer.
    """

    def __init__(self, url: str, flush_interval_ms: int, readiness: Readiness) -> None:
        self._pool = redis.ConnectionPool.from_url(
            url, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS, retry=None
        )
        self._flush_seconds = flush_interval_ms / 1000
        self._readiness = readiness
        self._outboxes: list[Outbox] = []
        self._link: Link | None = None
        self._given_up: list[int] = []
        self._writing = threading.Lock()
        self._drain_until: float | None = None
        self._drained: threading.Event | None = None
        """To be set after the next write: somebody waits for it."""
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis-writer", daemon=True)

    def add(self, outbox: Outbox) -> None:
        """Serve an outbox from now on."""
        with self._writing:
            self._outboxes.append(outbox)
            if self._link is not None:
                outbox.connected()
            if not self._thread.is_alive():
                self._thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            drained, self._drained = self._drained, None
            began, worked = time.monotonic(), time.thread_time()
            is_written = self.write_now()
            if drained is not None:
                drained.set()
            now, worked = time.monotonic(), time.thread_time() - worked
            rest = self._rest(worked, now - last, now - began) if is_written else _RETRY_SECONDS
            last = began
            self._wake.wait(rest)
            self._wake.clear()

    def _rest(self, worked: float, of: float, took: float) -> float:
        """Return for how long the thread rests after a write.

        Where there is little to write, until the interval is over. Where it would take a good part of the time, and the
        interpreter from the events, a rest is long, and a session that changes often meanwhile is written once.

        Args:
            worked: Seconds of the processor for the write.
            of: Seconds since the write before it began.
            took: Seconds of the write.
        """
        if worked <= _LITTLE * of:
            return max(self._flush_seconds - took, 0.0)
        return max(self._flush_seconds, min(_REST * worked, _MOST_REST_SECONDS))

    def write_now(self) -> bool:
        """Write everything pending; return whether Redis took it."""
        with self._writing:
            try:
                link = self._connect()
                for outbox in self._outboxes:
                    outbox.write_to(link)
            except (RedisError, OSError) as error:
                self._lose(error)
                return False
            except Exception as error:
                # Not foreseen, such as a value that somebody else put under one of our keys: this thread must not
                # end by it unseen. What is pending waits, and readiness says so.
                logger.exception("Redis: writing failed")
                self._lose(error)
                return False
        return True

    def drain(self) -> None:
        """Write everything pending before the process ends, if Redis takes it within 0.3 s in all.

        The thread does it: at the end of a process no new one can be started.
        """
        if self._drain_until is None:
            self._drain_until = time.monotonic() + _DRAIN_SECONDS
        left = self._drain_until - time.monotonic()
        if left > 0 and self._thread.is_alive():
            self._drained = drained = threading.Event()
            self._wake.set()
            drained.wait(left)

    def _connect(self) -> Link:
        if self._link is None:
            self._link = Link(self._pool)
            while self._given_up:
                self._link.end_other(self._given_up[-1])
                self._given_up.pop()
            for outbox in self._outboxes:
                outbox.connected()
            metrics.REDIS_UP.set(1)
            self._readiness.report("redis")
            logger.info("Redis: connected")
        return self._link

    def _lose(self, error: Exception) -> None:
        """Drop the connection: after an error nobody knows which replies are still to come."""
        metrics.REDIS_ERRORS.labels("write").inc()
        metrics.REDIS_UP.set(0)
        reason = f"{type(error).__name__}: {error}"
        if self._readiness.reasons.get("redis") != reason:
            logger.warning("Redis does not take what we write, it waits here: %s", reason)
        self._readiness.report("redis", reason)
        if self._link is not None:
            if self._link.id is not None:
                self._given_up.append(self._link.id)
            self._link.close()
            self._link = None


def check_eviction_policy(url: str) -> None:
    """Refuse a Redis that would throw our values away when it is full; one that does not answer yet is let pass.

    Raises:
        StartError: If its policy is another than noeviction.
    """
    client = redis.Redis.from_url(url, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS)
    try:
        memory: Any = client.info("memory")
    except RedisError as error:
        logger.warning("Redis: cannot be asked for its eviction policy yet: %s", type(error).__name__)
        return
    finally:
        client.close()
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        msg = f"REDIS_URL: expected a Redis with maxmemory-policy noeviction, got one with {policy}"
        raise StartError(msg)
