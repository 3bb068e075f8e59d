"""A child for ProcessEngine that implements the protocol without a device. Its argument names its behaviour.

``draws``: two steps and a tiny picture for each recipe; ``stalls``: one step, then nothing; ``quits``: ends while it
loads; ``dies``: ends at the first recipe; ``raves``: sends no valid message; ``refuses``: can't load its model;
``bursts``: has no memory for its model; ``prints``: as draws, with a library's chatter on standard error; ``peeks``: draws
on once previews are wanted; ``idles``: gives its memory back at once; ``empties``: loses its model to another one's failed
load, and loads it again for the next recipe; ``lingers``: as draws, and does not end with its pipe; ``enlarges``: as draws,
and is at work on what is no step before; ``echoes``: refuses with its environment.
"""

from __future__ import annotations

import json
import os
import sys
import time

from engine.contract import Image, Preview
from engine.host import wire
from engine.host.frames import HEAD, lengths


def hear() -> wire.Message | None:
    head = sys.stdin.buffer.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    header, payload = lengths(head)
    return wire.CODEC.decode(sys.stdin.buffer.read(header), sys.stdin.buffer.read(payload))


def say(message: wire.Message) -> None:
    sys.stdout.buffer.write(wire.CODEC.encode(message))
    sys.stdout.buffer.flush()


def draw(paint: wire.Draw, looked: set[int]) -> None:
    for step in (1, 2):
        say(stepped(paint, step))
    for ticket, recipe in zip(paint.tickets, paint.recipes, strict=True):
        if ticket in looked:
            say(wire.PreviewReady(ticket, Preview(recipe.id, b"rough", "image/jpeg")))
        data = recipe.prompt.encode()
        image = Image(
            recipe.id,
            data,
            width=recipe.width,
            height=recipe.height,
            seconds=0.01,
            precision="fp4",
            revision="c0ffee",
            notes=("n",),
            device="abacus",
            setup="a setup",
        )
        say(wire.ImageReady(ticket, image, 123, 0.1, 0.2, 1))


def stepped(paint: wire.Draw, step: int) -> wire.StepDone:
    count = len(paint.tickets)
    return wire.StepDone(paint.tickets, (step,) * count, (2,) * count, 0.01)


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
    if what == "bursts":
        say(wire.Broken("out_of_memory", "The device is full."))
        return
    if what == "echoes":
        say(wire.Broken("unknown_model", json.dumps(dict(os.environ))))
        return
    say(wire.Downloading(5, 10))
    say(wire.Warming("demo", "abacus"))
    say(wire.Warm("demo", "fp4", "in the head", "c0ffee", 77, 0.01, 64 * 64, 0.01))
    looked: set[int] = set()
    if what == "prints":
        sys.stderr.write("progress 50 %\rprogress 100 %" + "\ufffd" * 70000)
        sys.stderr.write("\nWARNING:peft: a LoRA is odd\n")
        sys.stderr.flush()
    if what == "idles":
        say(wire.Idle(7))
    if what == "empties":
        say(wire.Notice("xl can't be loaded: it is of cheese; demo stays loaded."))
        say(wire.Warming("xl", "abacus"))
        say(wire.Idle(7, "xl can't be loaded: it bursts; demo could not be loaded again either."))
    while (message := hear()) is not None:
        if isinstance(message, wire.SetPreview):
            looked.add(message.ticket)
        if isinstance(message, wire.Draw):
            if what == "empties":
                say(wire.Warming("demo", "abacus"))
                say(wire.Warm("demo", "fp4", "in the head", "c0ffee", 77, 0.01))
            if what == "peeks":
                # Previews can be wanted only after the recipe is known.
                say(stepped(message, 1))
                while not isinstance(wanted := hear(), wire.SetPreview):
                    pass
                looked.add(wanted.ticket)
            if what == "dies":
                os._exit(9)
            if what == "stalls":
                say(stepped(message, 1))
            elif what == "enlarges":
                say(wire.Heartbeat())
                draw(message, looked)
            else:
                draw(message, looked)
    while what == "lingers":
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
