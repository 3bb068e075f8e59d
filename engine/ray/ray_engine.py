"""RayEngine: the engine's contract, implemented with actors of a Ray cluster, one for each GPU."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from engine.contract import EngineConfig, Profile
from engine.host.process_engine import Models, ProcessEngine
from engine.host.supervision import Timeouts
from engine.hub.needs import needs_hub
from engine.multi_engine import MultiEngine
from engine.ray.driver_process import COMMAND, DRAW, ClusterConfig, DriverProcess, DriverTimeouts
from engine.ray.placement import SlotPlan, read_plans

TIMEOUTS = Timeouts(first_pause=0.2, longest_pause=30.0, starts=10**9, losses=5)
"""A lost actor is replaced at once, and after five losses in ten minutes it rests; another machine may be put right."""

log = logging.getLogger(__name__)


class RayEngine(MultiEngine):
    """Draws on a Ray cluster. Implements ``engine.contract.Engine``.

    Every slot is a ``ProcessEngine`` whose process is an actor. Ray runs in the driver, a child process: it never ends
    the service.

    Args:
        config: Models and device. Folders of models must be at the same paths on every node.
        cluster: The cluster.
        plans: The slots; None: those of ``[placement]`` in ``models.toml``, and without it, one for each GPU of the
            cluster, also of machines that join it later.
        timeouts: Limits of each slot; tests make them short.
        driver_timeouts: Limits of the driver.
        worker: What actors run; tests put something without a device in its place.
        command: How the driver is started; tests put another program in its place.

    Raises:
        UnknownModel: As ``Models.read`` and ``read_plans``. Blocking: reads small files.
    """

    def __init__(
        self,
        config: EngineConfig,
        cluster: ClusterConfig,
        plans: Sequence[SlotPlan] | None = None,
        *,
        timeouts: Timeouts = TIMEOUTS,
        driver_timeouts: DriverTimeouts | None = None,
        worker: str = DRAW,
        command: Sequence[str] = COMMAND,
    ) -> None:
        # Ray shows each actor its own card. Several devices: on each node, one loads at a time.
        self._config = replace(config, device="cpu" if config.device == "cpu" else "auto", devices=2)
        self._models = Models.read(config)
        self._slot_timeouts = timeouts
        self._worker = worker
        if plans is None:
            plans = read_plans(config.models_file, [spec.profile.name for spec in self._models.specs])
        self._grows = not plans
        self._plans = list(plans or [SlotPlan()])
        self._gpus: asyncio.Queue[int] = asyncio.Queue()
        self._growing: asyncio.Task[None] | None = None
        # As ``ProcessEngine``: on this machine, no hub is asked for what is here.
        offline = {} if any(map(needs_hub, self._models.specs)) else {"HF_HUB_OFFLINE": "1"}
        environment = {**offline, **config.environment}
        self._driver = DriverProcess(cluster, environment, self._gpus.put_nowait, driver_timeouts, command)
        super().__init__(
            {_name(number): self._make(number, plan) for number, plan in enumerate(self._plans)},
            {_name(number): frozenset({plan.model} - {""}) for number, plan in enumerate(self._plans)},
        )

    @property
    def driver_pid(self) -> int | None:
        """Process id of the driver; None where there is none."""
        return self._driver.pid

    @property
    def pids(self) -> tuple[int | None, ...]:
        """Process id of each slot's actor on its node; None where there is none."""
        return tuple(engine.pid for engine in self._engines.values() if isinstance(engine, ProcessEngine))

    async def start(self) -> None:
        """Begin to join the cluster, to load and to warm; returns at once."""
        if self._growing is None:
            self._growing = asyncio.create_task(self._grow(), name="ray-slots")
        await super().start()

    async def aclose(self) -> None:
        """End all actors and the driver within 5 s."""
        if self._growing is not None:
            self._growing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._growing
        await super().aclose()
        await self._driver.aclose()

    def profiles(self) -> tuple[Profile, ...]:
        """Profiles that at least one slot can draw; the default first."""
        order = [spec.profile.name for spec in self._models.specs]
        return tuple(sorted(super().profiles(), key=lambda profile: order.index(profile.name)))

    def _make(self, number: int, plan: SlotPlan) -> ProcessEngine:
        specs = sorted(self._models.specs, key=lambda spec: spec.profile.name != plan.model) if plan.model else None
        models = self._models if specs is None else replace(self._models, specs=tuple(specs))
        connect = partial(self._driver.open, plan.requirements, self._worker)
        config = replace(self._config, slot=_name(number))
        return ProcessEngine(config, self._slot_timeouts, connect=connect, models=models)

    async def _grow(self) -> None:
        """Add a slot for each GPU of the cluster that has none yet."""
        while True:
            gpus = await self._gpus.get()
            while self._grows and len(self._plans) < gpus:
                number = len(self._plans)
                engine = self._make(number, SlotPlan())
                await engine.start()
                self._plans.append(SlotPlan())
                self._add(_name(number), engine)


def _name(number: int) -> str:
    return f"ray:{number}"
