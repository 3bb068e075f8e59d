"""DriverProcess: keeps the driver of a Ray cluster running, as a child process, and the channels through it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from engine.host import wire as worker_wire
from engine.host.child_process import ChildFailed, ChildProcess, module_command
from engine.host.frames import WireError
from engine.host.silence import SilenceLimit
from engine.ray import wire
from engine.ray.driver_environment import make_environment, make_folder
from engine.ray.session import kill_session

COMMAND = module_command("engine.ray.driver")

DRAW = "engine.host.child:draw"
"""What actors run."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The cluster that draws.

    Attributes:
        address: Host and port of a running cluster; empty: one on this machine, which ends with the service.
        token_file: Path of the file with the cluster's token; needed for a running one.
        gpus: Logical GPUs of a cluster on this machine; negative: those that are found.
    """

    address: str = ""
    token_file: str = ""
    gpus: int = -1


@dataclass(frozen=True, slots=True)
class DriverTimeouts:
    """Limits, in seconds.

    Attributes:
        joining: How long the driver may take to join or start the cluster.
        silence: How long it may be silent after that.
        closing: How long it may take to end by itself, and an actor to be ended by it.
    """

    joining: float = 120.0
    silence: float = 60.0
    closing: float = 3.0


class DriverProcess:
    """One driver and its channels. A driver that ended is started again when the next channel is opened.

    Args:
        cluster: The cluster.
        environment: Additional environment variables of the driver, and of actors on this machine.
        joined: Called with the number of the cluster's GPUs, whenever it is known or has changed.
        timeouts: Limits; tests make them short.
        command: How the driver is started.
    """

    def __init__(
        self,
        cluster: ClusterConfig,
        environment: Mapping[str, str],
        joined: Callable[[int], None],
        timeouts: DriverTimeouts | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._cluster = cluster
        self._environment = environment
        self._joined = joined
        self._timeouts = timeouts or DriverTimeouts()
        self._command = command
        self._numbers = itertools.count(1)
        self._channels: dict[int, Channel] = {}
        self._child: ChildProcess[wire.Message] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the driver; None where there is none."""
        return None if self._child is None else self._child.pid

    async def open(self, requirements: wire.ActorRequirements, worker: str = DRAW) -> Channel:
        """Start an actor, and the driver if there is none.

        Raises:
            ChildFailed: The driver can't be started.
        """
        async with self._lock:
            if self._task is not None and (self._child is None or self._task.done()):
                # The one before is cleaned up first: its actors hold the GPUs.
                await asyncio.wait((self._task,))
                self._task = None
            if self._task is None:
                # The slot that asks may be closed meanwhile; the driver is not left half started.
                self._starting = asyncio.create_task(self._start(), name="ray-driver-start")
                await asyncio.shield(self._starting)
        child = self._child
        if child is None:  # it has ended in the meantime
            raise ChildFailed("The driver of the Ray cluster has ended.")
        channel = Channel(next(self._numbers), child, self._timeouts.closing, self._forget)
        self._channels[channel.number] = channel
        child.send(wire.Open(channel.number, worker, requirements))
        return channel

    async def aclose(self) -> None:
        """End the driver, and with it every actor, within 5 s."""
        async with self._lock:
            if self._starting is not None:
                await asyncio.wait((self._starting,))
            if self._task is not None:
                if self._child is not None:  # else it is ending already, and cleans up
                    self._task.cancel()
                await asyncio.wait((self._task,))
                self._task = None

    def _forget(self, number: int) -> None:
        self._channels.pop(number, None)

    async def _start(self) -> None:
        local = not self._cluster.address
        folder = await asyncio.to_thread(make_folder) if local else None
        token = self._cluster.token_file if folder is None else str(folder / "token")
        environment = make_environment(self._environment, token, folder)
        try:
            child = await ChildProcess.start(
                self._command, environment, wire.CODEC, name="driver", closing=self._timeouts.closing
            )
        except ChildFailed:
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        child.expect_within(self._timeouts.joining)
        child.send(
            wire.Join(
                self._cluster.address, "" if folder is None else str(folder), self._cluster.gpus, version("easel")
            )
        )
        self._child = child
        self._task = asyncio.create_task(self._run(child, folder), name="ray-driver")

    async def _run(self, child: ChildProcess[wire.Message], folder: Path | None) -> None:
        """Read what the driver sends until it ends, and clean up after it."""
        end = worker_wire.Broken("failed", "The driver of the Ray cluster was closed.", passing=True)
        try:
            while True:
                message = await child.receive()
                match message:
                    case wire.JoinFailed(problem, passing):
                        log.error("%s", problem)
                        end = worker_wire.Broken("failed", problem, passing)
                        return
                    case wire.Joined(gpus):
                        log.info("the Ray cluster has %d GPUs", gpus)
                        self._joined(gpus)
                    case wire.ActorStarted(channel=number, pid=pid, node=node) if number in self._channels:
                        log.info("an actor runs on %s as process %d", node, pid)
                        self._channels[number].take(message)
                    case wire.Said(channel=number) | wire.ActorEnded(channel=number) if number in self._channels:
                        self._channels[number].take(message)
                # While it joins, nothing comes but the end of that.
                child.expect_within(self._timeouts.silence)
        except ChildFailed as e:
            last = " / ".join(child.last_lines)
            log.warning("%s Its last lines: %s", e, last)
            end = worker_wire.Broken("failed", f"{e} It is started again.", passing=True)
        finally:
            self._child = None
            for channel in self._channels.values():
                channel.end(end)
            await child.stop()
            if folder is not None:
                await asyncio.to_thread(clean_up, child.pid, folder)


class Channel:
    """The connection with one actor. Implements ``engine.host.connection.WorkerConnection``."""

    def __init__(
        self, number: int, driver: ChildProcess[wire.Message], closing: float, forget: Callable[[int], None]
    ) -> None:
        self.number = number
        self._driver = driver
        self._closing = closing
        self._forget = forget
        self._messages: asyncio.Queue[worker_wire.Message | ChildFailed] = asyncio.Queue()
        self._silence = SilenceLimit()
        self._gone = asyncio.Event()
        self._pid: int | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the actor on its machine; None until it runs."""
        return self._pid

    @property
    def last_lines(self) -> Sequence[str]:
        """Nothing: warnings come as notices."""
        return ()

    def send(self, message: worker_wire.Message) -> None:
        """Send a message to the actor; lost if that is gone."""
        self._driver.send(wire.Tell(self.number, worker_wire.CODEC.encode(message)))

    async def receive(self) -> worker_wire.Message:
        """Return the next message.

        Raises:
            ChildFailed: The actor is gone, or was silent for too long and is ended.
        """
        try:
            message = await self._silence.limit(self._messages.get())
        except TimeoutError:
            self.kill()
            raise ChildFailed("The device's process was silent for too long and was ended.") from None
        if isinstance(message, ChildFailed):
            raise message
        return message

    def expect_within(self, seconds: float | None) -> None:
        """See ``WorkerConnection.expect_within``."""
        self._silence.expect_within(seconds)

    def kill(self) -> None:
        """End the actor at once."""
        if not self._gone.is_set():
            self._driver.send(wire.Close(self.number))

    async def stop(self) -> None:
        """End the actor; a driver that does not report its end hangs, and is killed."""
        self.kill()
        gone = asyncio.create_task(self._gone.wait(), name="actor-end")
        try:
            # Not asyncio.timeout, as in engine.host.child_process.end_process.
            if not (await asyncio.wait({gone}, timeout=self._closing))[0]:
                log.warning("the driver of the Ray cluster does not answer and is ended")
                self._driver.kill()
        finally:
            gone.cancel()
            self._forget(self.number)

    def take(self, message: wire.Message) -> None:
        """Take what the driver says of the actor."""
        match message:
            case wire.ActorStarted(pid=pid):
                self._pid = pid
            case wire.Said(frames=frames):
                try:
                    for each in worker_wire.CODEC.decode_all(frames):
                        self._messages.put_nowait(each)
                except WireError as e:
                    problem = f"The device's process sent something that is not a message ({e}) and was ended."
                    self._messages.put_nowait(ChildFailed(problem))
            case wire.ActorEnded(problem=problem, fault=True):
                self._messages.put_nowait(ChildFailed(problem))
                self._gone.set()
            case wire.ActorEnded(problem=problem, passing=passing):
                self.end(worker_wire.Broken("failed", problem, passing))

    def end(self, message: worker_wire.Broken) -> None:
        """The actor is gone through no fault of its own."""
        self._messages.put_nowait(message)
        self._gone.set()


def clean_up(session: int, folder: Path) -> None:
    """Blocking: end what is left of a cluster on this machine, and remove its folder."""
    if sys.platform != "win32":
        kill_session(session)
    shutil.rmtree(folder, ignore_errors=True)
