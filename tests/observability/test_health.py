import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from observability.health import HealthServer, HealthServerError, Readiness

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Served:
    """A health server and what it answers from."""

    registry: CollectorRegistry
    readiness: Readiness
    server: HealthServer

    def get(self, path: str) -> tuple[int, bytes, str]:
        """Return status, body and content type."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.server.port}{path}", timeout=5) as response:
                return response.status, response.read(), response.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers["Content-Type"]

    def get_json(self, path: str) -> tuple[int, Any]:
        """Return status and the body's JSON."""
        status, body, _ = self.get(path)
        return status, json.loads(body)


@pytest.fixture
def served() -> Served:
    registry, readiness = CollectorRegistry(), Readiness()
    server = HealthServer(registry, readiness, LOOPBACK, 0)
    server.start()
    return Served(registry, readiness, server)


def test_it_is_live_from_the_start_and_not_ready_before_anything_has_reported(served: Served) -> None:
    assert served.get_json("/live") == (200, {"live": True})
    assert served.get_json("/ready") == (503, {"ready": False, "dependencies": {}})


def test_it_is_ready_while_nothing_is_missing_and_says_what_is(served: Served) -> None:
    served.readiness.report("kafka")
    served.readiness.report("redis")
    ready = served.get_json("/ready")

    served.readiness.report("redis", "connection refused")
    missing = served.get_json("/ready")

    served.readiness.report("redis")
    assert ready == served.get_json("/ready") == (200, {"ready": True, "dependencies": {"kafka": "", "redis": ""}})
    assert missing == (503, {"ready": False, "dependencies": {"kafka": "", "redis": "connection refused"}})


def test_metrics_are_those_of_the_registry_in_the_text_format(served: Served) -> None:
    Counter("eaten", "Apples eaten", registry=served.registry).inc(3)

    status, body, content_type = served.get("/metrics")

    assert status == 200
    assert content_type.startswith("text/plain; charset=utf-8")
    assert b"eaten_total 3.0\n" in body


def test_there_is_nothing_else(served: Served) -> None:
    assert served.get("/")[0] == served.get("/flow")[0] == 404


def test_a_taken_port_is_an_error_in_one_line_that_names_the_setting() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        server = HealthServer(CollectorRegistry(), Readiness(), LOOPBACK, port)

        with pytest.raises(HealthServerError, match=f"^METRICS_PORT: cannot listen on {LOOPBACK}:{port}: .*in use"):
            server.start()


def test_a_host_that_is_not_ours_is_an_error() -> None:
    server = HealthServer(CollectorRegistry(), Readiness(), "192.0.2.1", 0)

    with pytest.raises(HealthServerError, match=r"cannot listen on 192\.0\.2\.1:0"):
        server.start()
