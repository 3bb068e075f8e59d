"""Builds the engine of the settings: devices of this machine, a Ray cluster, ComfyUI servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.cli import environment
from adapters.cli.ray_settings import cluster_of
from bot.core.errors import BadInput
from bot.settings import EngineKind, Settings
from engine.contract import Engine, UnknownModel
from engine.host import devices
from engine.host.process_engine import Models, ProcessEngine
from engine.multi_engine import MultiEngine
from engine.ray.ray_engine import RayEngine

if TYPE_CHECKING:
    from engine.comfy.workflow import Workflow, Workflows

# The modules of engine.comfy import an HTTP client: only where a server is named.


def engine_of(settings: Settings) -> Engine:
    """Return the engine of the settings: a process for each device, a server for each URL, or a Ray cluster. Blocking.

    Raises:
        EngineError: A model can't be used.
        BadInput: The Ray cluster can't be used, or ComfyUI servers are named as well.
    """
    urls = devices.servers(settings.device)
    if settings.engine is EngineKind.RAY:
        if urls:
            raise BadInput("cli.comfy.ray")
        return RayEngine(environment.engine_config(settings), cluster_of(settings))
    here = devices.local(settings.device)
    if not urls:
        configs = devices.config_of_each(environment.engine_config(settings), here)
        return ProcessEngine(configs[0]) if len(configs) == 1 else MultiEngine(_processes(settings))
    own: Mapping[str, Engine] = _processes(settings) if here else {}
    servers = _servers(settings, urls, alone=not own)
    # A device of this machine draws the models that it has, and a server what it says itself.
    drawn = {name: frozenset(profile.name for profile in engine.profiles()) for name, engine in own.items()}
    return MultiEngine({**own, **servers}, drawn)


def describing(settings: Settings) -> Engine:
    """Return an engine that knows the models and LoRAs of the settings, and is not to be started. Blocking.

    Raises:
        EngineError: A model can't be used.
    """
    if devices.servers(settings.device) and settings.engine is EngineKind.PROCESS:
        return engine_of(settings)
    return ProcessEngine(environment.engine_config(settings))


def server_of_one_model(settings: Settings, model: str | None) -> Engine:
    """Return an engine that draws one model on the first ComfyUI server. Blocking: looks at the server.

    Args:
        settings: The settings.
        model: The model; None: the default one, or the first one that the server has.

    Raises:
        EngineError: The model can't be used.
    """
    from engine.comfy import catalogue, probe  # noqa: PLC0415 - see above
    from engine.comfy.comfy_engine import ComfyEngine  # noqa: PLC0415

    url = devices.servers(settings.device)[0]
    found = catalogue.alone(workflows(settings), model or settings.model)
    name = next(iter(found.found))
    if catalogue.named(found, model or settings.model) is None:
        seen = asyncio.run(probe.look(url, found.found))
        name = next(iter(seen.drawable), name)
    return ComfyEngine(url, {name: found.found[name]})


def workflows(settings: Settings) -> Workflows:
    """Return the workflows of ComfyUI servers. Blocking: reads small files."""
    from engine.comfy import catalogue  # noqa: PLC0415 - see above

    return catalogue.workflows(environment.engine_config(settings), settings.data_dir)


def _processes(settings: Settings) -> dict[str, Engine]:
    """Return a process for each device of this machine, by the name of its slot."""
    here = devices.local(settings.device)
    configs = devices.config_of_each(environment.engine_config(settings), here)
    models = Models.read(configs[0])
    # A single device has no name of its own, unless the setting names it.
    return {
        config.slot or ("local" if here == ("auto",) else here[0]): ProcessEngine(config, models=models)
        for config in configs
    }


def _servers(settings: Settings, urls: tuple[str, ...], *, alone: bool) -> dict[str, Engine]:
    """Return an engine for each ComfyUI server, by the name of its slot; none where no workflow can be used."""
    from engine.comfy import catalogue  # noqa: PLC0415 - see above
    from engine.comfy.comfy_engine import ComfyEngine  # noqa: PLC0415

    read = catalogue.logged(environment.engine_config(settings), settings.data_dir)
    if alone:
        read = catalogue.alone(read, settings.model)
    found: Mapping[str, Workflow] = read.found
    if not found:
        raise UnknownModel(" ".join(read.problems) or "There is no ComfyUI workflow that can be used.")
    names = {devices.server_name(url): url for url in urls}
    return {name: ComfyEngine(url, found, slot=name) for name, url in names.items()}
