"""The device's process: one thread listens to the parent, the main thread draws and writes.

``engine.host.process_engine`` starts it as ``python -m engine.host.child``. Standard input and output are the private
pipe; what libraries print goes to standard error.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.diffusion.request_state import RequestState
from engine.host import wire
from engine.host.imports import large_imports
from engine.host.inbox import Inbox
from engine.host.parent_pipe import ParentPipe


def main() -> None:
    """Load the default model, then draw until the parent is gone."""
    pipe, inbox = ParentPipe(wire.CODEC), Inbox()
    setup = pipe.receive()
    assert isinstance(setup, wire.Setup)
    pipe.listen(lambda message: hand(message, inbox))
    draw(setup, pipe.send, inbox)


def hand(message: wire.Message, inbox: Inbox) -> None:
    """Hand a message of the parent to the thread that draws."""
    match message:
        case wire.Draw(lane, tickets, recipes):
            inbox.add(RequestState(t, r, lane) for t, r in zip(tickets, recipes, strict=True))
        case wire.Write(ticket, task):
            inbox.add_text(ticket, task)
        case wire.Drop(tickets):
            inbox.drop(tickets)
        case wire.SetPreview(ticket, enabled):
            inbox.set_preview(ticket, enabled=enabled)


def draw(setup: wire.Setup, send: Callable[[wire.Message], None], inbox: Inbox) -> None:
    """Load the default model, then draw for ever; return only if it can't be loaded.

    Args:
        setup: Models and device.
        send: Sends a message to the parent; called from several threads.
        inbox: Where the parent's requests come.
    """
    # Torch and diffusers take seconds to import; the process can end with its parent meanwhile.
    with large_imports():
        from engine.diffusion.model_manager import LoadError  # noqa: PLC0415  # see above
        from engine.host.child_logging import configure_logging  # noqa: PLC0415  # see above
        from engine.host.worker import Worker  # noqa: PLC0415  # see above

    configure_logging(setup.config.log_level)
    try:
        worker = Worker(setup, send, inbox)
    except LoadError as e:
        send(wire.Broken(e.error.code, str(e.error), e.passing))
        return
    while True:
        worker.step()


if __name__ == "__main__":
    main()
