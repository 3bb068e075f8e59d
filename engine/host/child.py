"""The device's process: hears its parent on one thread, draws on the main one, and ends when its parent ends.

Started as ``python -m engine.host.child`` by ``engine.host.process_engine``. Standard input and output are the private pipe;
what libraries print goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from engine.diffusion.request_state import RequestState
from engine.host import wire
from engine.host.inbox import Inbox
from engine.host.pipe import Pipe


def listen(pipe: Pipe, inbox: Inbox) -> None:
    """Take what the parent says into the inbox; end the process, whatever it is doing, when the parent is gone.

    ``os._exit`` and no exception: the main thread may be deep in a step, and the card's memory must come free at once.
    """
    try:
        while True:
            match wire.decode(*pipe.take()):
                case wire.Paint(lane, tickets, recipes):
                    inbox.add(RequestState(t, r, lane) for t, r in zip(tickets, recipes, strict=True))
                case wire.Drop(tickets):
                    inbox.drop(tickets)
                case wire.SetPreview(ticket, enabled):
                    inbox.set_preview(ticket, enabled=enabled)
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
    setup = wire.decode(*pipe.take())
    assert isinstance(setup, wire.Setup)

    def say(message: wire.Message) -> None:
        pipe.put(wire.encode(message))

    threading.Thread(target=listen, args=(pipe, inbox), name="listen", daemon=True).start()

    # Torch and diffusers take seconds to import, so the parent's end is already watched by now.
    from engine.diffusion.model_manager import LoadError  # noqa: PLC0415  # see above
    from engine.host.child_logging import speak  # noqa: PLC0415  # see above
    from engine.host.worker import Worker  # noqa: PLC0415  # see above

    speak()
    try:
        worker = Worker(setup, say, inbox)
    except LoadError as e:
        say(wire.Broken(e.error.code, str(e.error), e.passing))
        return
    while True:
        worker.step()


if __name__ == "__main__":
    main()
