"""Ends the processes of a cluster on this machine: all of them are in the session of its driver."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import psutil


def kill_session(session: int, *, but: int = 0) -> int:
    """Kill all processes of a session; return how many there were.

    Args:
        session: Id of the session, which is the process id of its first process.
        but: Process id of one that is spared.
    """
    killed = 0
    if sys.platform == "win32":
        return killed
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid != but and os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed
