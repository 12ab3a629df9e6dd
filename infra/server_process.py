"""One server as a child process: started with a log file, waited for until ready, ended by its process id.

It leaves nothing running behind: a failed start is killed before the error is raised, and where the kernel can do it
(Linux) the server dies with the thread that started it. It must never end a process that it did not start.
"""

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LOOPBACK = "127.0.0.1"

_PORTS = range(20_000, 30_000)
"""Below what systems give to outgoing connections, so that nothing takes the port of a server that is down."""
_TRAMPOLINE = Path(__file__).with_name("parent_death.py")
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 4_000


class ServerStartError(RuntimeError):
    """A server did not become ready; the message ends with the last lines of its log."""


class ServerStoppedError(RuntimeError):
    """Something was asked of a server that is not running."""


def free_port() -> int:
    """Give a random loopback port on which nothing listens now."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def is_listening(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


class ServerProcess:
    """A child process in a session of its own, so that Ctrl-C in the terminal reaches only who started it."""

    def __init__(self, name: str, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._last_log = b"(no log)"
        self._unread = b""

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        with_control: bool = False,
    ) -> None:
        """Start the command; its standard error (and output) is appended to the log file.

        Args:
            command: Program and arguments.
            cwd: Working folder; None is the current one.
            env: Environment; None is the current one.
            with_control: Keep standard input and output as pipes for `send_line` and `read_line`.

        Raises:
            ServerStartError: If it is running already.
        """
        if self.is_running:
            msg = f"{self.name} is running already, process {self.pid}"
            raise ServerStartError(msg)
        self._unread = b""
        bound = [sys.executable, "-I", "-S", str(_TRAMPOLINE), str(os.getpid()), *command]
        # Kept open: its end can then be shown even when the file was removed meanwhile.
        self._log = self.log_file.open("a+b")
        self._process = subprocess.Popen(  # noqa: S603 - the commands are our own
            bound,
            stdin=subprocess.PIPE if with_control else subprocess.DEVNULL,
            stdout=subprocess.PIPE if with_control else self._log,
            stderr=self._log,
            cwd=cwd,
            env=env,
            bufsize=0,
            start_new_session=True,
        )

    def wait_ready(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Wait until the server answers; whatever goes wrong meanwhile, it is not left running.

        Raises:
            ServerStartError: If it ended, or was not ready in time.
        """
        try:
            self._poll_until(is_ready, time.monotonic() + seconds, seconds)
        except BaseException:
            self.kill()
            raise

    def _poll_until(self, is_ready: Callable[[], bool], deadline: float, seconds: float) -> None:
        while not is_ready():
            if not self.is_running:
                what = "ended before it was ready"
                raise self._start_error(what)
            if time.monotonic() > deadline:
                what = f"was not ready within {seconds:g} s"
                raise self._start_error(what)
            time.sleep(_POLL_SECONDS)

    def _start_error(self, what: str) -> ServerStartError:
        return ServerStartError(f"{self.name} {what}; the end of its log:\n{self.log_tail()}")

    @property
    def pid(self) -> int:
        """Its process id, also after its end.

        Raises:
            ServerStoppedError: If it was never started.
        """
        if self._process is None:
            msg = f"{self.name} was not started"
            raise ServerStoppedError(msg)
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end and give the exit status (negative: the signal).

        Raises:
            ServerStoppedError: If it was never started.
            TimeoutError: If it still runs after so many seconds.
        """
        if self._process is None:
            raise self._gone()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            msg = f"{self.name} did not end within {seconds} s"
            raise TimeoutError(msg) from None

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Ask it to end, and kill it when it does not within the grace; harmless when it is not running."""
        if self._process is None:
            return
        self._process.terminate()
        self.resume()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap(self._process)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; harmless when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def pause(self) -> None:
        """Let it hang (SIGSTOP): connections stay open, nothing is answered. Harmless when it is not running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause` (SIGCONT); harmless when it was not paused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._last_log = self._log_end()
        for stream in (process.stdin, process.stdout, self._log):
            if stream is not None:
                stream.close()

    def send_line(self, line: str) -> None:
        """Write one line to its standard input.

        Raises:
            ServerStoppedError: If it does not take input (any more).
        """
        if not self.is_running or self._process is None or self._process.stdin is None:
            raise self._gone()
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise self._gone() from None

    def read_line(self, seconds: float) -> str:
        """Read the next line of its standard output.

        Raises:
            ServerStoppedError: If its output ended, or no line came in time.
        """
        if self._process is None or self._process.stdout is None or self._process.stdout.closed:
            raise self._gone()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            self._unread += self._next_bytes(self._process.stdout, deadline)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def _next_bytes(self, stream: IO[bytes], deadline: float) -> bytes:
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        some = os.read(stream.fileno(), 65_536) if ready else b""
        if not some:
            raise self._gone()
        return some

    def _gone(self) -> ServerStoppedError:
        return ServerStoppedError(f"{self.name} does not answer; the end of its log:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Give the end of its log, for a message to a person."""
        return self._log_end().decode(errors="replace").strip() or "(empty)"

    def _log_end(self) -> bytes:
        if self._log is None or self._log.closed:
            return self._last_log
        start = max(0, os.fstat(self._log.fileno()).st_size - _LOG_TAIL_BYTES)
        return os.pread(self._log.fileno(), _LOG_TAIL_BYTES, start)
