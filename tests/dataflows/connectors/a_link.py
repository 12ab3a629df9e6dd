"""Connections to Redis for the tests of what is written there: one to write by, as the writer has it, one to look."""

import contextlib
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


class Withholding:
    """A proxy before a Redis that can keep back what is sent, and deliver it later, after its client has left."""

    def __init__(self, upstream: str) -> None:
        self._upstream = int(upstream.rpartition(":")[2].partition("/")[0])
        self._socket = socket.create_server((LOOPBACK, 0))
        self._kept: list[tuple[socket.socket, bytes]] = []
        self.keeps = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self._socket.getsockname()[1]}/0"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                far = socket.create_connection((LOOPBACK, self._upstream))
                threading.Thread(target=self._forth, args=(near, far), daemon=True).start()
                threading.Thread(target=self._back, args=(far, near), daemon=True).start()

    def _forth(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while sent := near.recv(65_536):
                if self.keeps:
                    self._kept.append((far, sent))
                else:
                    far.sendall(sent)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := far.recv(65_536):
                near.sendall(said)

    def deliver(self) -> int:
        """Send what was kept back, if its connection is still open; return how many pieces were kept."""
        for far, sent in self._kept:
            with contextlib.suppress(OSError):
                far.sendall(sent)
        return len(self._kept)

    def close(self) -> None:
        self._socket.close()
