"""The baseline: a plain diffusers loop in a separate process."""

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
        threads: Threads of each operation.
        peak: Floating-point operations per second of a matrix product; 0 on a CPU.
    """

    process: asyncio.subprocess.Process
    threads: int = 0
    peak: float = 0.0

    async def draw(self, batches: Iterable[Sequence[Recipe]]) -> float:
        """Draw batches one after the other; returns the seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([[asdict(r) for r in batch] for batch in batches]).encode() + b"\n")
        return float(await self.answer())

    async def answer(self) -> Any:
        """Return its next answer. Raises RuntimeError with its last error line if it has ended."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = await self.process.stdout.readline()
        if not line:
            words = (await self.process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"the bare loop has ended: {words[-1] if words else 'without a word'}")
        return json.loads(line)


@asynccontextmanager
async def running(folder: str, device: str, precision: str) -> AsyncIterator[Baseline]:
    """Run the baseline while the block runs.

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
        # As in a user's own script: OpenMP decides how its threads wait.
        env=child_environment({}, offline=True, calm=False),
    )
    loop = Baseline(process)
    try:
        said = await loop.answer()
        loop.threads, loop.peak = said["threads"], said["peak"]
        yield loop
    finally:
        await end_process(process, 5.0)
