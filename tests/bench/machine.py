"""What the figures were measured on: they mean little without it."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from infra.kafka_distribution import kafka_version
from tests.bench.world import World

_PACKAGES = ("bytewax", "confluent-kafka", "fastavro", "numpy", "polars", "scikit-learn")


def facts(world: World) -> dict[str, Any]:
    """Return the machine, the versions, and what the servers are."""
    info: Any = world.redis.info("server")
    server = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": f"{_cpu_name()}, {os.cpu_count()} cores shared by service, broker, Redis and load",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kafka": f"Kafka {kafka_version()}",
        "redis": server,
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _cpu_name() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()
