"""Tie the life of a process to its parent's: run as a script, it binds itself and then becomes the given command.

`python -I -S infra/parent_death.py PARENT_PID COMMAND...` asks the kernel (Linux) for SIGKILL when the parent is gone,
then execs COMMAND under the same process id. An exec in between is safe where a fork hook in a process full of
threads is not. Only the standard library may be imported here: the script runs without site-packages.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel to send this process a signal when its parent ends; does nothing outside Linux.

    The kernel means the parent's *thread*: whoever starts a server does so from a thread that outlives it.

    Args:
        parent_pid: The parent as it knows itself; when it is already gone, this process ends here and now.
        signal_number: What the kernel shall send.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(0)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - becoming the command we were given is the purpose
