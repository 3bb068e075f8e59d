"""The classifier's process: one thread listens to the parent, the main thread judges.

``engine.moderation.process_moderator`` starts it as ``python -m engine.moderation.child``.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path

from engine.contract import EngineError
from engine.host.imports import large_imports
from engine.host.parent_pipe import ParentPipe
from engine.moderation import wire


def main() -> None:
    """Load the classifier, then judge pictures until the parent is gone."""
    pipe = ParentPipe(wire.CODEC)
    pictures: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    setup = pipe.receive()
    assert isinstance(setup, wire.ClassifierSetup)

    def handle(message: wire.Message) -> None:
        if isinstance(message, wire.Judge):
            pictures.put(message.payload)

    pipe.listen(handle)

    # Torch and transformers take seconds to import; from here on the process ends with its parent.
    with large_imports():
        from engine.moderation.classifier import Classifier  # noqa: PLC0415  # see above

    try:
        classifier = Classifier(Path(setup.folder), setup.labels)
    except (EngineError, OSError, ValueError, RuntimeError) as e:
        pipe.send(wire.Problem(f"The classifier can't be loaded: {e}"))
        return
    pipe.send(wire.Ready())
    while True:
        pipe.send(_judge(classifier.score, pictures.get()))


def _judge(score: Callable[[bytes], float], picture: bytes) -> wire.Message:
    try:
        return wire.Score(score(picture))
    except (OSError, ValueError, RuntimeError) as e:
        return wire.Problem(f"A picture can't be judged: {e}")


if __name__ == "__main__":
    main()
