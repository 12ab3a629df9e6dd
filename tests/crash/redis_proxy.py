"""A loopback proxy in front of Redis: it can be slow, or answer every command with an error, as one in trouble does."""

import contextlib
import socket
import socketserver
import threading
import time
from typing import Any, Self

from infra.server_process import LOOPBACK, free_port

_CHUNK = 65_536


class CommandCounter:
    r"""Counts whole commands in what a client sends.

    >>> counter = CommandCounter()
    >>> counter.feed(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGE"), counter.feed(b"T\r\n$1\r\nx\r\n")
    (1, 1)
    """

    def __init__(self) -> None:
        self._unread = b""

    def feed(self, some: bytes) -> int:
        """Take the next bytes; return how many commands they complete."""
        self._unread += some
        commands = at = 0
        while (end := self._end_of_command(at)) is not None:
            commands, at = commands + 1, end
        self._unread = self._unread[at:]
        return commands

    def _end_of_command(self, at: int) -> int | None:
        """Return where the command that begins at a place ends, None while it is not complete."""
        header = self._number(at)
        if header is None:
            return None
        parts, at = header
        for _ in range(parts):
            length = self._number(at)
            if length is None:
                return None
            at = length[1] + length[0] + 2
            if at > len(self._unread):
                return None
        return at

    def _number(self, at: int) -> tuple[int, int] | None:
        """Return the number of the line that begins at a place, and where the next one begins."""
        end = self._unread.find(b"\r\n", at)
        return None if end < 0 else (int(self._unread[at + 1 : end]), end + 2)


class RedisProxy:
    """Passes connections on to Redis.

    Args:
        redis_port: Where Redis is, on loopback.
    """

    def __init__(self, redis_port: int) -> None:
        self.port = free_port()
        self.delay_seconds = 0.0
        """How long every answer is held back."""
        self.answer: bytes | None = None
        """What to answer to every command, instead of asking Redis."""
        self.answered = 0
        """How many commands were answered here."""
        self._redis_port = redis_port
        self._server = _Server((LOOPBACK, self.port), _Handler)
        self._server.proxy = self

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        """Serve one connection until either side ends it."""
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self._redis_port)) as upstream:
            threading.Thread(target=self._bring_back, args=(upstream, client), daemon=True).start()
            counter = CommandCounter()
            while some := client.recv(_CHUNK):
                commands = counter.feed(some)
                if self.answer is None:
                    upstream.sendall(some)
                else:
                    client.sendall(self.answer * commands)
                    self.answered += commands

    def _bring_back(self, upstream: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := upstream.recv(_CHUNK):
                time.sleep(self.delay_seconds)
                client.sendall(some)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    proxy: RedisProxy


class _Handler(socketserver.BaseRequestHandler):
    server: Any

    def handle(self) -> None:
        self.server.proxy.serve(self.request)
