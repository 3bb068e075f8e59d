"""Looks whether a Ray cluster can be joined, for `easel doctor`: a driver of its own joins it and ends again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from engine.host.child_process import ChildFailed, ChildProcess
from engine.ray import wire
from engine.ray.driver_environment import make_environment, make_folder
from engine.ray.driver_process import COMMAND, ClusterConfig, clean_up, wrong_token

OPEN: Mapping[str, str] = {"RAY_AUTH_MODE": "disabled"}
"""Environment of a driver without a token: a cluster that it can join is open to everybody."""

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found: GPUs, or one sentence about the problem.

    Attributes:
        gpus: Logical GPUs of the cluster.
        problem: Why it can't be joined; empty if it can.
    """

    gpus: int = 0
    problem: str = ""


async def look(cluster: ClusterConfig, seconds: float, environment: Mapping[str, str] | None = None) -> Seen:
    """Join the cluster and leave it again. Starts one where the address is empty, and ends it.

    Args:
        cluster: The cluster.
        seconds: Longest time.
        environment: Further variables of the driver.
    """
    folder = None if cluster.address else await asyncio.to_thread(make_folder)
    token = cluster.token_file if folder is None else str(folder / "token")
    variables = {**make_environment({}, token, folder), **(environment or {})}
    try:
        child = await ChildProcess.start(COMMAND, variables, wire.CODEC, name="driver", closing=1.0)
    except ChildFailed as error:
        return Seen(problem=str(error))
    try:
        child.send(wire.Join(cluster.address, "" if folder is None else str(folder), cluster.gpus, version("easel")))
        async with asyncio.timeout(seconds):
            return await _answer(child, cluster)
    except ChildFailed as error:
        return Seen(problem=f"{error} {' / '.join(child.last_lines)}")
    except TimeoutError:
        return Seen(problem=f"Ray did not answer within {seconds:g} s.")
    finally:
        child.kill()
        await child.stop()
        if folder is not None:
            await asyncio.to_thread(clean_up, child.pid, folder)


async def _answer(child: ChildProcess[wire.Message], cluster: ClusterConfig) -> Seen:
    receiving = asyncio.ensure_future(child.receive())
    try:
        while True:
            done, _ = await asyncio.wait((receiving,), timeout=_LOOK_SECONDS)
            # Ray tries for twenty seconds where the token is wrong.
            if problem := wrong_token(child, cluster):
                return Seen(problem=problem)
            if done:
                match receiving.result():
                    case wire.Joined(gpus):
                        return Seen(gpus)
                    case wire.Refused(problem):
                        return Seen(problem=problem)
                receiving = asyncio.ensure_future(child.receive())
    finally:
        if not receiving.done():
            receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
