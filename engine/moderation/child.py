"""The classifier's process: hears its parent on one thread, judges on the main one, and ends when its parent ends.

Started as ``python -m engine.moderation.child`` by ``engine.moderation.process_moderator``.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from engine.contract import EngineError
from engine.host.pipe import Pipe
from engine.host.wire import WireError
from engine.moderation import wire


def listen(pipe: Pipe, pictures: queue.SimpleQueue[bytes]) -> None:
    """Take pictures from the parent; end the process, whatever it is doing, when the parent is gone."""
    try:
        while True:
            match wire.decode(*pipe.take()):
                case wire.Judge(payload):
                    pictures.put(payload)
    except EOFError:
        os._exit(0)
    except WireError as e:
        print(f"The parent said something that makes no sense: {e}", file=sys.stderr)  # noqa: T201  # its log
        os._exit(2)


def main() -> None:
    """Load, then judge until the parent is gone."""
    # The parent alone decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Pipe()
    pictures: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    setup = wire.decode(*pipe.take())
    assert isinstance(setup, wire.ClassifierSetup)
    threading.Thread(target=listen, args=(pipe, pictures), name="listen", daemon=True).start()

    # Torch and transformers take seconds to import, so the parent's end is already watched by now.
    from engine.moderation.classifier import Classifier  # noqa: PLC0415  # see above

    try:
        classifier = Classifier(Path(setup.folder), setup.labels)
    except (EngineError, OSError, ValueError, RuntimeError) as e:
        pipe.put(wire.encode(wire.Problem(f"The classifier can't be loaded: {e}")))
        return
    pipe.put(wire.encode(wire.Ready()))
    while True:
        pipe.put(wire.encode(_judged(classifier.score, pictures.get())))


def _judged(score: Callable[[bytes], float], picture: bytes) -> wire.Message:
    try:
        return wire.Score(score(picture))
    except (OSError, ValueError, RuntimeError) as e:
        return wire.Problem(f"A picture can't be judged: {e}")


if __name__ == "__main__":
    main()
