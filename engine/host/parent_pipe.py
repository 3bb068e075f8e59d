"""A child's end of the pipe to its parent, and the thread that ends the child when the parent is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, Generic, TypeVar

from engine.host.frames import HEAD, Codec, WireError, lengths

M = TypeVar("M")


class ParentPipe(Generic[M]):
    """Standard input and output, moved out of the libraries' reach: what these print goes to standard error.

    From its creation on the process ignores SIGINT and SIGTERM: the parent alone decides when it ends, and a Ctrl-C or
    a service manager's signal to all processes must not reach it first.

    Args:
        codec: Encodes and decodes the messages.
    """

    def __init__(self, codec: Codec[M]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._codec = codec
        self._in, self._out = _private(0, "rb"), _private(1, "wb")
        self._lock = threading.Lock()

    def receive(self) -> M:
        """Return the next message. Raises EOFError if the parent is gone, WireError if it is no message."""
        header, payload = lengths(self._exactly(HEAD.size))
        return self._codec.decode(self._exactly(header), self._exactly(payload))

    def send(self, message: M) -> None:
        """Send a message; safe between threads. Raises OSError if the parent is gone."""
        frame = self._codec.encode(message)
        with self._lock:
            self._out.write(frame)
            self._out.flush()

    def listen(self, handle: Callable[[M], None], clean_up: Callable[[], None] = lambda: None) -> None:
        """Call ``handle`` with each further message, on a thread that ends the process when the parent is gone.

        Args:
            handle: Takes a message.
            clean_up: Called on that thread before it ends the process.
        """
        threading.Thread(target=self._listen, args=(handle, clean_up), name="listen", daemon=True).start()

    def _listen(self, handle: Callable[[M], None], clean_up: Callable[[], None]) -> None:
        # os._exit and no exception: the main thread may be deep in a step, and the card's memory must come free at once.
        try:
            while True:
                handle(self.receive())
        except EOFError:
            status = 0
        except WireError as e:
            print(f"The parent sent something that is not a message: {e}", file=sys.stderr)  # noqa: T201  # its log
            status = 2
        clean_up()
        os._exit(status)

    def _exactly(self, count: int) -> bytes:
        data = self._in.read(count)
        if len(data) < count:
            raise EOFError
        return data


def _private(fd: int, mode: str) -> BinaryIO:
    """Move a standard stream to another descriptor, and put a harmless one in its place."""
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
