import math
from types import SimpleNamespace

import numpy as np
from prometheus_client import CollectorRegistry

from observability.health import HealthServer, Readiness
from observability.histogram import BatchHistogram
from tests.bench.world import Lane


def test_a_lane_tells_how_many_values_of_a_histogram_do_not_exceed_each_bound() -> None:
    registry = CollectorRegistry()
    BatchHistogram("waiting_seconds", "Waiting", (0.1, 0.25), registry).observe(np.array([0.05, 0.2, 0.2, 9.0]))
    server = HealthServer(registry, Readiness(), "127.0.0.1", 0)
    server.start()
    lane = Lane.__new__(Lane)
    lane.port, lane.process = server.port, SimpleNamespace(poll=lambda: None)  # type: ignore[assignment]

    assert lane.buckets("waiting_seconds") == {0.1: 1.0, 0.25: 3.0, math.inf: 4.0}
