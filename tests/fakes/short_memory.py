"""The engine's own child with too little memory for some loads. Started with two arguments: when it shows, and for what.

``plan``: the memory plan says so; ``load``: the plan does not, and the load fails half-way with weights in memory. What
is a number format (``fp32``) or a model's name; a model's name and a number (``small*1``): as many times, then no more.
``plan nothing``: there is enough. The processor computes no bf16, whichever it is, so that fp32 is what is safer than fp16.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from engine.contract import OutOfMemory
from engine.diffusion import loader
from engine.diffusion.memory import probe
from engine.host import child


def main(when: str, what: str) -> None:
    """Replace the loader's memory checks, and run the child."""
    vars(probe)["_cpu_bf16"] = lambda: False
    name, _, times = what.partition("*")
    left = [int(times or 10**6)]

    def short(*of: str) -> bool:
        if name not in of or not left[0]:
            return False
        left[0] -= 1
        return True

    if when == "plan":
        usual_plan: Any = vars(loader)["plan"]

        def plan(profile: Any, width: int, height: int, device: Any, asked: str, *rest: Any, **more: Any) -> Any:
            if short(profile.name, asked):
                raise OutOfMemory(f"{profile.title} takes more in {asked} than there is.")
            return usual_plan(profile, width, height, device, asked, *rest, **more)

        vars(loader)["plan"] = plan
    else:
        usual_family: Any = loader.Loader._family

        def family(self: loader.Loader, spec: Any, located: Any, made: Any) -> Any:
            found = usual_family(self, spec, located, made)
            if short(spec.profile.name, made.precision):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return found

        loader.Loader._family = family  # type: ignore[method-assign]
    child.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
