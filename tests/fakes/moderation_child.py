"""A classifier's child without a classifier, started with what it shall do: a picture is its own score, as text.

``judges``; ``quits``: ends while it loads; ``dies``: ends at the first picture of each child; ``dies_once``: ends at the
first picture, and leaves a mark (its second argument) so that the next one goes on; ``stalls``: never answers; ``raves``:
says no message; ``echoes``: can't load its environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from engine.host.parent_pipe import ParentPipe
from engine.moderation import wire


def main(what: str, *more: str) -> None:
    pipe = ParentPipe(wire.CODEC)
    pipe.receive()
    if what == "quits":
        sys.exit(3)
    if what == "echoes":
        pipe.send(wire.Problem(json.dumps(dict(os.environ))))
        return
    sys.stderr.write("loading...\n" * 20000)
    pipe.send(wire.Ready())
    while True:
        try:
            message = pipe.receive()
        except EOFError:
            return
        assert isinstance(message, wire.Judge)
        if what == "dies" or (what == "dies_once" and not Path(more[0]).exists()):
            if more:
                Path(more[0]).touch()
            os._exit(9)
        if what == "stalls":
            time.sleep(60)
        if what == "raves":
            pipe._out.write(b"Downloading: 100 %" * 9)
        score = message.payload.decode()
        pipe.send(wire.Problem("no picture") if score == "broken" else wire.Score(float(score)))


if __name__ == "__main__":
    main(*sys.argv[1:])
