"""A schema registry for the tests: a small HTTP server that gives the answers it was told, and notes the questions."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.server_process import LOOPBACK
from schemas.catalogue import EVENT

Reply = tuple[int, bytes]

KNOWN = 200, json.dumps({"schema": json.dumps(EVENT.definition)}).encode()
ABSENT = 404, b'{"error_code": 40403, "message": "Schema not found"}'


@dataclass
class Registry:
    """A schema registry: what it answers, by path, and what it was asked."""

    port: int
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}{LOOPBACK}:{self.port}"

    @contextmanager
    def up(self) -> Iterator[None]:
        """Answer, until the end of the block."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                registry.authorization.append(self.headers["Authorization"])
                status, body = registry.replies.get(self.path, ABSENT)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        with ThreadingHTTPServer((LOOPBACK, self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield
            server.shutdown()
            thread.join()
