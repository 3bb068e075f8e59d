"""A child's end of its private pipe: frames in and out, whatever they say."""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO

from engine.host import wire


class Pipe:
    """Standard input and output, moved out of the libraries' reach: what these print goes to standard error."""

    def __init__(self) -> None:
        self._in, self._out = _private(0, "rb"), _private(1, "wb")
        self._lock = threading.Lock()

    def take(self) -> tuple[bytes, bytes]:
        """Return the next frame's header and payload; raises EOFError when the parent is gone, WireError for no frame."""
        header, payload = wire.lengths(self._exactly(wire.HEAD.size))
        return self._exactly(header), self._exactly(payload)

    def put(self, frame: bytes) -> None:
        """Send a frame; safe between threads. Raises OSError when the parent is gone."""
        with self._lock:
            self._out.write(frame)
            self._out.flush()

    def _exactly(self, count: int) -> bytes:
        data = self._in.read(count)
        if len(data) < count:
            raise EOFError
        return data


def _private(fd: int, mode: str) -> BinaryIO:
    """Move a standard stream out of the way and put a harmless one in its place."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415  # exists on Windows alone

        msvcrt.setmode(fd, os.O_BINARY)
    own = os.dup(fd)
    if fd == 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    else:
        os.dup2(2, fd)
    return open(own, mode)  # type: ignore[return-value]  # noqa: PTH123  # open for as long as the process runs
