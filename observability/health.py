"""The service's own HTTP port: `/live`, `/ready` and `/metrics`, served from a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest


class HealthServerError(RuntimeError):
    """The port could not be served."""


@dataclass(slots=True)
class Readiness:
    """What the service waits for, by dependency: an empty reason means that it is there.

    Written by the threads that know, read by whoever asks.
    """

    reasons: dict[str, str] = field(default_factory=dict)

    def report(self, dependency: str, reason: str = "") -> None:
        """Say that a dependency is there, or why it is not."""
        self.reasons[dependency] = reason

    @property
    def is_ready(self) -> bool:
        """Whether nothing is missing, and something has reported."""
        return bool(self.reasons) and not any(self.reasons.values())


class HealthServer:
    """Serves one registry and one readiness until the process ends.

    Args:
        registry: The metrics.
        readiness: What `/ready` answers from.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
    """

    def __init__(self, registry: CollectorRegistry, readiness: Readiness, host: str, port: int) -> None:
        self._registry = registry
        self._readiness = readiness
        self._host = host
        self._wanted = port
        self.port = port
        """The port served, once `start` has returned."""

    def start(self) -> None:
        """Serve from a thread.

        Raises:
            HealthServerError: If the port is taken or not ours to use.
        """
        started = threading.Event()
        failure: list[BaseException] = []
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started.set, failure.append)), name="health", daemon=True
        )
        thread.start()
        while thread.is_alive() and not started.wait(0.05):
            pass
        if failure or not started.is_set():
            reason = failure[0] if failure else "its thread ended"
            msg = f"METRICS_PORT: cannot listen on {self._host}:{self._wanted}: {reason}"
            raise HealthServerError(msg)

    async def _serve(self, started: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        app = web.Application()
        app.add_routes(
            [web.get("/live", self._live), web.get("/ready", self._ready), web.get("/metrics", self._metrics)]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._wanted)
            await site.start()
        except OSError as error:
            failed(error)
            return
        self.port = runner.addresses[0][1]
        started()
        await asyncio.Event().wait()

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = dict(self._readiness.reasons)
        status = 200 if self._readiness.is_ready else 503
        return web.json_response({"ready": status == 200, "dependencies": reasons}, status=status)  # noqa: PLR2004

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")
