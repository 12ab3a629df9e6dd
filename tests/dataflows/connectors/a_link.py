"""Connections to Redis for the tests of what is written there: one to write by, as the writer has it, one to look."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from dataflows.connectors.redis_writer import CALL_SECONDS, Link, RedisWriter
from infra.server_process import LOOPBACK

Client = Any
"""A redis-py client that answers with text."""


@contextmanager
def link_to(url: str) -> Iterator[Link]:
    """Open a connection as the writer does."""
    pool = redis.ConnectionPool.from_url(url, socket_timeout=CALL_SECONDS, retry=None)
    link = Link(pool)
    yield link
    link.close()
    pool.close()


@contextmanager
def looking_at(url: str) -> Iterator[Client]:
    """Open a client that answers with text."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


class QuietWriter(RedisWriter):
    """A writer whose thread only waits, so that the test says when it writes."""

    def _run(self) -> None:
        threading.Event().wait()


class Hanging:
    """A server that accepts connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address as a client wants it."""
        return f"redis://{LOOPBACK}:{self._listener.getsockname()[1]}/0"

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        """Drop everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in (self._listener, *self.connections):
            each.close()
        self._thread.join()
