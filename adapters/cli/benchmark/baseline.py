"""The bare diffusers loop as the benchmark asks for it: a process of its own, as anybody would run it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from engine.contract import Recipe
from engine.host.child_process import child_environment, end_process

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(slots=True)
class Baseline:
    """The running process.

    Attributes:
        threads: Threads of each of its operations.
        peak: Floating-point operations a second of a matrix product there; 0 on a CPU.
    """

    process: asyncio.subprocess.Process
    threads: int = 0
    peak: float = 0.0

    async def draw(self, batches: Iterable[Sequence[Recipe]]) -> float:
        """Draw batches one after the other; returns the seconds that took."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([[asdict(r) for r in batch] for batch in batches]).encode() + b"\n")
        return float(await self.answer())

    async def answer(self) -> Any:
        """Return what it says next. Raises RuntimeError with its last words when it has ended."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = await self.process.stdout.readline()
        if not line:
            words = (await self.process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"the bare loop has ended: {words[-1] if words else 'without a word'}")
        return json.loads(line)


@asynccontextmanager
async def running(folder: str, device: str, precision: str) -> AsyncIterator[Baseline]:
    """Run the bare loop while the block runs.

    Args:
        folder: A diffusers pipeline.
        device: Such as ``cpu`` or ``cuda:0``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "adapters.cli.benchmark.baseline_process", folder, device, _DTYPES[precision]),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        # As anybody runs it: how its threads wait is left to OpenMP.
        env=child_environment({}, offline=True, calm=False),
    )
    loop = Baseline(process)
    try:
        said = await loop.answer()
        loop.threads, loop.peak = said["threads"], said["peak"]
        yield loop
    finally:
        await end_process(process, 5.0)
