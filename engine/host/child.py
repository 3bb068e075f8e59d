"""The device's process: hears its parent on one thread, draws on the main one, and ends when its parent ends.

Started as ``python -m engine.host.child`` by ``engine.host.parent``. Standard input and output are the private pipe;
what libraries print goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import BinaryIO

from engine.diffusion.rows import Row
from engine.host import wire
from engine.host.inbox import Inbox


class Pipe:
    """The two ends of the conversation, out of the libraries' reach."""

    def __init__(self) -> None:
        self._in, self._out = _private(0, "rb"), _private(1, "wb")
        self._lock = threading.Lock()

    def hear(self) -> wire.Message:
        """Return the next message; raises EOFError when the parent is gone."""
        header, payload = wire.lengths(self._exactly(wire.HEAD.size))
        return wire.decode(self._exactly(header), self._exactly(payload))

    def say(self, message: wire.Message) -> None:
        """Send a message; safe between threads. Raises OSError when the parent is gone."""
        frame = wire.encode(message)
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


def listen(pipe: Pipe, inbox: Inbox) -> None:
    """Take what the parent says into the inbox; end the process, whatever it is doing, when the parent is gone.

    ``os._exit`` and no exception: the main thread may be deep in a step, and the card's memory must come free at once.
    """
    try:
        while True:
            match pipe.hear():
                case wire.Paint(lane, tickets, recipes):
                    inbox.add(lane, map(Row, tickets, recipes))
                case wire.Drop(tickets):
                    inbox.drop(tickets)
                case wire.Look(ticket, looking):
                    inbox.look(ticket, looking=looking)
    except EOFError:
        os._exit(0)
    except wire.WireError as e:
        print(f"The parent said something that makes no sense: {e}", file=sys.stderr)  # noqa: T201  # its log
        os._exit(2)


def main() -> None:
    """Load, warm and draw until the parent is gone."""
    # The parent alone decides when this process ends: a Ctrl-C or a service manager's signal to all is not for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe, inbox = Pipe(), Inbox()
    setup = pipe.hear()
    assert isinstance(setup, wire.Setup)
    threading.Thread(target=listen, args=(pipe, inbox), name="listen", daemon=True).start()

    # Torch and diffusers take seconds to import, so the parent's end is already watched by now.
    from engine.diffusion.keeper import CantLoad  # noqa: PLC0415  # see above
    from engine.host.workshop import Workshop  # noqa: PLC0415  # see above

    try:
        workshop = Workshop(setup, pipe.say, inbox)
    except CantLoad as e:
        pipe.say(wire.Broken(e.error.code, str(e.error), e.passing))
        return
    while True:
        workshop.turn()


if __name__ == "__main__":
    main()
