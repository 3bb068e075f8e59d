"""Looks whether a Ray cluster can be joined, for `easel doctor`: a driver of its own joins it and ends again."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from importlib.metadata import version

from engine.host.child_process import ChildFailed, ChildProcess
from engine.ray import wire
from engine.ray.driver_environment import make_environment, make_folder
from engine.ray.driver_process import COMMAND, ClusterConfig, clean_up


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found: GPUs, or one sentence about the problem.

    Attributes:
        gpus: Logical GPUs of the cluster.
        problem: Why it can't be joined; empty if it can.
        reason: As that of ``wire.JoinFailed``.
    """

    gpus: int = 0
    problem: str = ""
    reason: str = ""


async def look(cluster: ClusterConfig, seconds: float) -> Seen:
    """Join the cluster and leave it again. Starts one where the address is empty, and ends it.

    Args:
        cluster: The cluster.
        seconds: Longest time.
    """
    folder = None if cluster.address else await asyncio.to_thread(make_folder)
    token = cluster.token_file if folder is None else str(folder / "token")
    variables = make_environment({}, token, folder)
    try:
        child = await ChildProcess.start(COMMAND, variables, wire.CODEC, name="driver", closing=1.0)
    except ChildFailed as error:
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return Seen(problem=str(error))
    try:
        child.send(wire.Join(cluster.address, "" if folder is None else str(folder), cluster.gpus, version("easel")))
        async with asyncio.timeout(seconds):
            return await _answer(child)
    except ChildFailed as error:
        return Seen(problem=f"{error} {' / '.join(child.last_lines)}")
    except TimeoutError:
        return Seen(problem=f"Ray did not answer within {seconds:g} s.")
    finally:
        child.kill()
        await child.stop()
        if folder is not None:
            await asyncio.to_thread(clean_up, child.pid, folder)


async def _answer(child: ChildProcess[wire.Message]) -> Seen:
    while True:
        match await child.receive():
            case wire.Joined(gpus):
                return Seen(gpus)
            case wire.JoinFailed(problem, reason=reason):
                return Seen(problem=problem, reason=reason)
