"""The driver of a Ray cluster: a child process that starts actors and passes messages between them and the service.

``engine.ray.driver_process`` starts it as ``python -m engine.ray.driver``. Ray runs here and in the cluster's processes
alone: it may end the process of its driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import platform
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from engine.host import wire as worker_wire
from engine.host.parent_pipe import ParentPipe
from engine.ray import authentication, wire
from engine.ray.carried_files import read_files
from engine.ray.painter import Hello, Painter
from engine.ray.session import kill_session

STORE_BYTES = 100 * 10**6
"""Object store of a cluster on this machine: pictures pass through it, and nothing stays there."""

ALIVE_SECONDS = 5.0
"""Seconds between two signs of life."""

CONNECT_SECONDS = 5.0
"""Longest wait for an answer at the address of a cluster."""

NO_GPU_SECONDS = 15.0
"""Seconds after which an actor that waits for a free GPU says so."""

START_SECONDS = 600.0
"""Longest wait for a free GPU and for the actor's process, before the service is told that there is none."""

AHEAD = 4
"""Items that an actor may send before the first of them was read."""

log = logging.getLogger(__name__)


def main() -> None:
    """Join the cluster, then pass messages on until the parent is gone."""
    logging.basicConfig(format="%(levelname)s:%(name)s: %(message)s", level=logging.WARNING)
    pipe = ParentPipe(wire.CODEC)
    join = pipe.receive()
    assert isinstance(join, wire.Join)
    loop = asyncio.new_event_loop()
    driver = Driver(pipe, join)

    def handle(message: wire.Message) -> None:
        loop.call_soon_threadsafe(driver.handle, message)

    def clean_up() -> None:
        if not join.address:
            kill_session(os.getpid(), but=os.getpid())
            shutil.rmtree(join.folder, ignore_errors=True)

    pipe.listen(handle, clean_up)
    problem = join_cluster(join)
    if problem is not None:
        pipe.send(problem)
        return
    loop.run_until_complete(driver.run())


def join_cluster(join: wire.Join) -> wire.JoinFailed | None:
    """Join or start a cluster, in this thread; return why that is impossible, or None."""
    if importlib.util.find_spec("ray") is None:
        return wire.JoinFailed("Ray is not installed: run pip install 'easel[ray]'.", passing=False)
    if join.address and (problem := _unreachable(join.address)):
        return wire.JoinFailed(problem, passing=True)
    if join.address and (failed := _unauthenticated(join.address)):
        return failed
    import ray  # noqa: PLC0415 - an extra

    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING, "namespace": "easel"}
    try:
        if join.address:
            ray.init(address=join.address, **shared)
        else:
            ray.init(
                address="local",
                num_cpus=0,
                num_gpus=join.gpus if join.gpus >= 0 else None,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                _temp_dir=join.folder,
                **shared,
            )
    except Exception as error:  # noqa: BLE001 - Ray raises RuntimeError, ConnectionError, ValueError and others
        return _refused(join.address, error)
    finally:
        # Ray's own handler ends the process; the parent alone decides that.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return None


def _unreachable(address: str) -> str:
    """Return why nothing answers at an address; empty if something does. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return ""
    except (OSError, ValueError, OverflowError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"Nothing answers at {address}, where EASEL_RAY_ADDRESS has the head of the Ray cluster: {said}."


def _unauthenticated(address: str) -> wire.JoinFailed | None:
    """Return why the cluster must not or can't be joined with this process's token; None if it asks for this one."""
    token = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    try:
        if authentication.is_open(address):
            return wire.JoinFailed(
                f"The Ray cluster at {address} lets everybody in: anyone who reaches its ports can run any program there. "
                "Start all of its machines with RAY_AUTH_MODE=token and one token file, then start Easel again.",
                passing=False,
                reason=wire.OPEN,
            )
        if not authentication.is_admitted(address):
            return wire.JoinFailed(
                f"The Ray cluster at {address} has another token than {token}: copy the file that its machines have.",
                passing=True,
                reason=wire.WRONG_TOKEN,
            )
    except Exception as error:  # noqa: BLE001 - Ray raises several
        said = " ".join(str(error).split())[:300]
        problem = f"It can't be seen whether the Ray cluster at {address} asks for a token: {said}."
        return wire.JoinFailed(problem, passing=True)
    return None


def _refused(address: str, error: Exception) -> wire.JoinFailed:
    said = " ".join(str(error).split())[:300]
    here = f"Ray {version('ray')} and Python {platform.python_version()}"
    if "ersion mismatch" in said:
        return wire.JoinFailed(
            f"The Ray cluster at {address} has another version of Ray or Python than this machine ({here}): {said}",
            passing=False,
        )
    if address:
        return wire.JoinFailed(
            f"The Ray cluster at {address} can't be joined ({type(error).__name__}: {said}).",
            passing=True,
        )
    return wire.JoinFailed(f"Ray can't be started on this machine ({type(error).__name__}: {said}).", passing=True)


class Driver:
    """Passes messages between the service and the actors.

    Args:
        pipe: The connection with the service.
        join: The cluster, which is joined before ``run``.
    """

    def __init__(self, pipe: ParentPipe[wire.Message], join: wire.Join) -> None:
        self._pipe = pipe
        self._join = join
        self._actors: dict[int, _Actor] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Tell the service that the driver lives, and how many GPUs there are."""
        watching = asyncio.create_task(self._watch_gpus(), name="gpus")
        while not watching.done():
            self._pipe.send(wire.Alive())
            await asyncio.wait((watching,), timeout=ALIVE_SECONDS)
        await watching

    async def _watch_gpus(self) -> None:
        import ray  # noqa: PLC0415 - an extra

        known = -1
        while True:
            try:
                found = await asyncio.to_thread(ray.cluster_resources)
            except Exception as error:  # noqa: BLE001 - the head is away: Ray raises several, and ends the driver if it stays away
                log.warning("the Ray cluster does not tell its resources: %r", error)
            else:
                if (gpus := int(found.get("GPU", 0))) != known:
                    known = gpus
                    self._pipe.send(wire.Joined(gpus))
            await asyncio.sleep(ALIVE_SECONDS)

    def handle(self, message: wire.Message) -> None:
        """Take a message of the service."""
        match message:
            case wire.Open(channel, worker, requirements):
                actor = _Actor(channel, self._pipe, self._join)
                self._actors[channel] = actor
                task = asyncio.get_running_loop().create_task(actor.run(worker, requirements), name=f"actor-{channel}")
                actor.task = task
                self._tasks.add(task)
                task.add_done_callback(lambda done: self._ended(channel, done))
            case wire.Tell(channel, frames) if channel in self._actors:
                self._actors[channel].tell(frames)
            case wire.Close(channel) if channel in self._actors:
                self._actors[channel].close()

    def _ended(self, channel: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._actors.pop(channel, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the end of an actor could not be reported", exc_info=error)


class _Actor:
    """One actor, from its start to its end."""

    def __init__(self, channel: int, pipe: ParentPipe[wire.Message], join: wire.Join) -> None:
        self._channel = channel
        self._pipe = pipe
        self._join = join
        self._told: asyncio.Queue[bytes] = asyncio.Queue()
        self._handle: Any = None
        self._pid = 0
        self._closed = False
        self.task: asyncio.Task[None] | None = None

    def tell(self, frames: bytes) -> None:
        """Pass frames on, in order."""
        self._told.put_nowait(frames)

    def close(self) -> None:
        """End the actor at once."""
        self._closed = True
        if self.task is not None:
            self.task.cancel()

    async def run(self, worker: str, requirements: wire.ActorRequirements) -> None:
        """Start the actor, pass messages on, and report its end."""
        gone = wire.ActorEnded(self._channel, fault=False)
        try:
            gone = await self._run(worker, requirements)
        except asyncio.CancelledError:
            if not self._closed:
                raise
        except Exception as error:
            log.exception("an actor's channel failed")
            gone = wire.ActorEnded(self._channel, f"The driver failed ({type(error).__name__}: {error}).")
        finally:
            self._kill()
            self._pipe.send(gone)

    async def _run(self, worker: str, requirements: wire.ActorRequirements) -> wire.ActorEnded:
        import ray  # noqa: PLC0415 - an extra
        from ray.exceptions import RayError  # noqa: PLC0415 - an extra

        actors: Any = ray.remote(Painter)
        self._handle = actors.options(**_options(requirements)).remote(worker)
        node = ""
        tasks: list[asyncio.Task[None]] = []
        try:
            hello = await self._hello()
            if isinstance(hello, wire.ActorEnded):
                return hello
            self._pid, node = hello.pid, hello.node
            self._pipe.send(wire.ActorStarted(self._channel, hello.pid, hello.node))
            tasks += [asyncio.create_task(self._talk()), asyncio.create_task(self._listen())]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            problem = await self._handle.problem.remote() or "it has ended by itself"
            return wire.ActorEnded(self._channel, f"The device's process on {node} failed: {problem}.")
        except RayError as error:
            return wire.ActorEnded(self._channel, _sentence(error, node))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hello(self) -> Hello | wire.ActorEnded:
        """Wait for the actor's process, which waits for a free GPU."""
        answer = asyncio.ensure_future(self._handle.hello.remote())
        done, _ = await asyncio.wait((answer,), timeout=NO_GPU_SECONDS)
        if not done:
            self._notice("It waits for a free GPU of the cluster.")
            done, _ = await asyncio.wait((answer,), timeout=START_SECONDS)
        if not done:
            answer.cancel()
            return wire.ActorEnded(self._channel, "No machine of the cluster has a free GPU for it.", fault=False)
        hello: Hello = await answer
        if hello.easel != self._join.easel:
            return wire.ActorEnded(
                self._channel,
                f"{hello.node} has Easel {hello.easel}, and this machine {self._join.easel}: install the same version.",
                fault=False,
                passing=False,
            )
        return hello

    async def _listen(self) -> None:
        """Pass on what the actor says, stream after stream, until its worker has ended."""
        listen = self._handle.listen.options(num_returns="streaming", _generator_backpressure_num_objects=AHEAD)
        while True:
            async for reference in listen.remote():
                frames: bytes = await reference
                if not frames:
                    return
                self._pipe.send(wire.Said(self._channel, frames))

    async def _talk(self) -> None:
        """Pass the service's frames on; those that wait go together."""
        while True:
            frames = await self._told.get()
            while not self._told.empty():
                frames += self._told.get_nowait()
            messages = worker_wire.CODEC.decode_all(frames)
            files: Mapping[str, bytes] = await asyncio.to_thread(read_files, messages)
            await self._handle.tell.remote(frames, files)

    def _notice(self, text: str) -> None:
        self._pipe.send(wire.Said(self._channel, worker_wire.CODEC.encode(worker_wire.Notice(text))))

    def _kill(self) -> None:
        if self._handle is None:
            return
        import ray  # noqa: PLC0415 - an extra

        # Ray gives its GPU to another actor only when the process is gone.
        ray.kill(self._handle, no_restart=True)
        if self._pid and not self._join.address and sys.platform != "win32":
            # Ray waits five seconds for a process that hangs.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)


def _options(requirements: wire.ActorRequirements) -> dict[str, Any]:
    """Return Ray's options of an actor: it is never started again by Ray, and no call is repeated."""
    options: dict[str, Any] = {
        "num_cpus": 0,
        "num_gpus": requirements.num_gpus,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    if requirements.labels:
        options["label_selector"] = dict(requirements.labels)
    if requirements.resources:
        options["resources"] = dict(requirements.resources)
    return options


def _sentence(error: Exception, node: str) -> str:
    """Return one sentence about an actor that was lost."""
    said, where = str(error), f" on {node}" if node else ""
    if "No module named 'engine'" in said:
        return "Easel is not installed on a machine of the cluster: install the same version there."
    log.warning("an actor was lost: %s", " ".join(said.split())[:1000])
    return f"The device's process{where} was lost ({type(error).__name__})."


if __name__ == "__main__":
    main()
