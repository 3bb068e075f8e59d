"""A child for ProcessEngine that speaks its language without a device. Started with what it shall do as its argument.

``draws``: two steps and a tiny picture for each recipe; ``stalls``: one step, then nothing; ``quits``: ends while it
loads; ``dies``: ends at the first recipe; ``raves``: says no message; ``refuses``: can't load its model; ``prints``:
as draws, with a library's chatter on standard error; ``lingers``: as draws, and does not end with its pipe;
``echoes``: refuses with its environment.
"""

from __future__ import annotations

import json
import os
import sys
import time

from engine.host import wire


def hear() -> wire.Message | None:
    head = sys.stdin.buffer.read(wire.HEAD.size)
    if len(head) < wire.HEAD.size:
        return None
    header, payload = wire.lengths(head)
    return wire.decode(sys.stdin.buffer.read(header), sys.stdin.buffer.read(payload))


def say(message: wire.Message) -> None:
    sys.stdout.buffer.write(wire.encode(message))
    sys.stdout.buffer.flush()


def draw(paint: wire.Paint) -> None:
    for step in (1, 2):
        say(wire.Stepped(paint.tickets, step, 2, 0.01))
    for ticket, recipe in zip(paint.tickets, paint.recipes, strict=True):
        say(wire.Drawn(ticket, recipe.width, recipe.height, 0.01, 123, "image/png", recipe.prompt.encode()))


def main(what: str) -> None:
    hear()
    if what == "quits":
        sys.exit(3)
    if what == "raves":
        sys.stdout.write("Loading pipeline components...\n" * 99)
        sys.stdout.flush()
    if what == "refuses":
        say(wire.Broken("unknown_model", "The model is of cheese."))
        return
    if what == "echoes":
        say(wire.Broken("unknown_model", json.dumps(dict(os.environ))))
        return
    say(wire.Downloading(5, 10))
    say(wire.Warming("abacus", "fp4"))
    say(wire.Warm(77, 64 * 64, 0.01))
    if what == "prints":
        sys.stderr.write("progress 50 %\rprogress 100 %" + "\ufffd" * 70000)
    while (message := hear()) is not None:
        if isinstance(message, wire.Paint):
            if what == "dies":
                os._exit(9)
            if what == "stalls":
                say(wire.Stepped(message.tickets, 1, 2, 0.01))
            else:
                draw(message)
    while what == "lingers":
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
