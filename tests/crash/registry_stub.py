"""A schema registry on loopback that can go away and come back: it knows our events, and a later version of them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from infra.server_process import LOOPBACK, free_port, is_listening
from tests.crash.plain_events import SCHEMAS, event_definition

LATER_ID = 7
_LATER_FIELD = {"name": "channel", "type": ["null", "string"], "default": None}
_FLAG_ID = 2
_KNOWN = b"\x00\x00\x00\x00\x01"


def as_later_version(value: bytes | None) -> bytes | None:
    """Return a value of version 1 as one of the later version, whose new field is null; others as they are."""
    if value is None or value[:5] != _KNOWN:
        return value
    return b"\x00" + LATER_ID.to_bytes(4) + value[5:] + b"\x00"


def as_known_version(value: bytes | None) -> bytes | None:
    """Return a value whose schema id the service has surely asked for already: others are taken as version 1."""
    if value is None or len(value) < 5 or value[0] != 0:
        return value
    return _KNOWN + value[5:]


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key as the `murmur2_random` partitioner chooses it.

    >>> partition_of("21", 2**31), partition_of("foobar", 2**31)
    (1173551340, 1357151166)
    """
    data, wrap = key.encode(), 0xFFFFFFFF
    hashed = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for place in range(0, whole, 4):
        part = int.from_bytes(data[place : place + 4], "little") * 0x5BD1E995 & wrap
        part = (part ^ part >> 24) * 0x5BD1E995 & wrap
        hashed = hashed * 0x5BD1E995 & wrap ^ part
    if rest := data[whole:]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & wrap
    hashed = (hashed ^ hashed >> 13) * 0x5BD1E995 & wrap
    return ((hashed ^ hashed >> 15) & 0x7FFFFFFF) % partitions


class RegistryStub:
    """Answers `/schemas/ids/<id>`, at one address for its whole life."""

    def __init__(self) -> None:
        later = event_definition()
        later["fields"].append(_LATER_FIELD)
        flag = json.loads((SCHEMAS / "fraud_flag.avsc").read_text())
        self.definitions: dict[int, Any] = {1: event_definition(), _FLAG_ID: flag, LATER_ID: later}
        self.port = free_port()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def is_up(self) -> bool:
        """Whether it accepts connections."""
        return is_listening(self.port)

    def start(self) -> None:
        """Come (back)."""
        self._server = _Server((LOOPBACK, self.port), _Handler)
        self._server.definitions = self.definitions
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Go away; connections are refused then. Harmless when it is away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def write_definitions(self, file: Path) -> None:
        """Write what it knows for the oracle: null for a schema that is no event."""
        known = {number: None if number == _FLAG_ID else schema for number, schema in self.definitions.items()}
        file.write_text(json.dumps(known))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    definitions: dict[int, Any]


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        """Answer one question."""
        number = self.path.rpartition("/")[2]
        schema = self.server.definitions.get(int(number)) if number.isdecimal() else None
        body = json.dumps({"error_code": 40403} if schema is None else {"schema": json.dumps(schema)}).encode()
        self.send_response(404 if schema is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
