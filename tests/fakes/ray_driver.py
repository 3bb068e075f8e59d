"""A driver for DriverProcess without Ray. Its argument names its behaviour.

``draws``: each actor sends a tiny picture for each recipe; ``refuses``: the cluster can't be joined now; ``differs``: it
can never be joined; ``loses``: each actor dies at its first recipe; ``hangs``: it stops answering at the first recipe;
``quits``: it ends at the first recipe; ``full``: no machine has a free GPU; ``raves``: an actor sends no message.
"""

from __future__ import annotations

import sys
import threading

from engine.contract import Image
from engine.host import wire as worker_wire
from engine.host.parent_pipe import ParentPipe
from engine.ray import wire


def main(what: str) -> None:
    pipe = ParentPipe(wire.CODEC)
    join = pipe.receive()
    assert isinstance(join, wire.Join)
    if what in {"refuses", "differs"}:
        pipe.send(wire.JoinFailed("The cluster is of cheese.", passing=what == "refuses"))
        return
    pipe.send(wire.Joined(join.gpus))
    hangs = threading.Event()
    while not hangs.is_set():
        message = pipe.receive()
        if isinstance(message, wire.Open):
            open_channel(pipe, message.channel, what)
        if isinstance(message, wire.Close):
            pipe.send(wire.ActorEnded(message.channel, fault=False))
        if isinstance(message, wire.Tell):
            for each in worker_wire.CODEC.decode_all(message.frames):
                if not isinstance(each, worker_wire.Draw):
                    continue
                if what == "quits":
                    sys.exit(7)
                if what == "hangs":
                    hangs.set()
                elif what == "loses":
                    pipe.send(wire.ActorEnded(message.channel, "The actor fell over."))
                else:
                    draw(pipe, message.channel, each)
    threading.Event().wait()


def open_channel(pipe: ParentPipe[wire.Message], channel: int, what: str) -> None:
    if what == "full":
        pipe.send(wire.ActorEnded(channel, "No machine of the cluster has a free GPU for it.", fault=False))
        return
    pipe.send(wire.ActorStarted(channel, 1000 + channel, "far"))
    if what == "raves":
        pipe.send(wire.Said(channel, b"Loading pipeline components..."))
        return
    say(pipe, channel, worker_wire.Warming("demo", "abacus"))
    say(pipe, channel, worker_wire.Warm("demo", "fp4", "", "", 1, 0.0, 64, 0.01))


def draw(pipe: ParentPipe[wire.Message], channel: int, paint: worker_wire.Draw) -> None:
    for ticket, recipe in zip(paint.tickets, paint.recipes, strict=True):
        image = Image(recipe.id, b"png", width=recipe.width, height=recipe.height, seconds=0.01)
        say(pipe, channel, worker_wire.ImageReady(ticket, image, 1, 0.1, 0.2, 1))


def say(pipe: ParentPipe[wire.Message], channel: int, message: worker_wire.Message) -> None:
    pipe.send(wire.Said(channel, worker_wire.CODEC.encode(message)))


if __name__ == "__main__":
    main(sys.argv[1])
