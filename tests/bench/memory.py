"""How much memory the service takes above its imports, and whether 1,000 jobs leave any behind: prints JSON.

A process of its own: python -m tests.bench.memory JOBS [JOBS BEFORE THE FIRST LOOK]
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
from pathlib import Path

import psutil

import adapters.cli.serve  # what the service and its page import counts as imports
import adapters.web.service  # noqa: F401 - so does the page
from tests.bench.harness import ask, fake, finished, running_easel

WARM_JOBS = 50
"""Jobs before the first look at a service at work."""


def _mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 2**20)


async def main(jobs: int, warm: int = WARM_JOBS) -> dict[str, float]:
    """Draw with an engine that has no device, and look at this process's memory."""
    found = {"imports": _mib()}
    with tempfile.TemporaryDirectory() as folder:
        async with running_easel(Path(folder), fake) as easel:
            found["started"] = _mib()
            for n in range(warm + jobs):
                if n == warm:
                    found["working"] = _mib()
                await finished(easel, await ask(easel, f"picture number {n}"))
            found["after"] = _mib()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(*map(int, sys.argv[1:])))))
