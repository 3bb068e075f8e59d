"""A1111's options: the model is the person's own choice, kept in their settings; the others are as they are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from importlib.metadata import version

from aiohttp import web

from adapters.web.a1111.errors import FieldProblem, InvalidBody
from adapters.web.a1111.translation import model_named
from adapters.web.identity import actor_of, place_of, ref_of
from adapters.web.request_checks import BodyReader
from adapters.web.routes import Role, Route
from bot.commands.model import Invocation
from bot.core.people import Actor, Place
from bot.studio import Studio
from engine.contract import Profile

MODEL = "sd_model_checkpoint"

FIXED: Mapping[str, object] = {
    "CLIP_stop_at_last_layers": 1,
    "sd_checkpoint_hash": None,
    "sd_vae": "Automatic",
    "samples_format": "png",
    "save_to_dirs": False,
    "show_progress_every_n_steps": 1,
    "live_previews_enable": True,
    "eta_noise_seed_delta": 0,
    "randn_source": "CPU",
}
"""Options that clients read. Requests override some; they are the same for everybody and can't be set."""


async def remember_model(studio: Studio, actor: Actor, place: Place, profile: Profile) -> None:
    """Make a model the one of the person's requests that name none. Raises Refusal."""
    command, rest = studio.find_command("settings", f"model {profile.name}")
    args = studio.parse_arguments(command, rest, {})
    ref = ref_of(actor, f"a1111-{uuid.uuid4()}", "")
    await studio.command(Invocation(actor, place, command, ref, args=args))


class OptionHandlers:
    """Handlers of ``/sdapi/v1/options``."""

    def __init__(self, studio: Studio, bodies: BodyReader) -> None:
        self._studio = studio
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/sdapi/v1/options", self.options, Role.MEMBER),
            Route("POST", "/sdapi/v1/options", self.set_options, Role.MEMBER),
        ]

    async def options(self, request: web.Request) -> web.Response:
        """Return the options; the model is the person's."""
        return web.json_response(await self._options(request))

    async def set_options(self, request: web.Request) -> web.Response:
        """Set the person's model. Options that are sent back unchanged are accepted, others are refused."""
        async with self._bodies.large_json(request) as sent:
            wanted = dict(sent)
        current = await self._options(request)
        fixed = next((name for name, value in wanted.items() if name != MODEL and value != current.get(name)), None)
        if fixed is not None:
            message = "This option can't be set here. Easel's clients can set sd_model_checkpoint, each for themselves."
            raise InvalidBody([FieldProblem("value_error", ("body", fixed[:80]), message)])
        named = wanted.get(MODEL)
        if named is not None and named != current[MODEL]:
            actor, place = actor_of(request), place_of(request)
            models = await self._studio.models_of(actor, place)
            profile = model_named(named, models) if isinstance(named, str) else None
            if profile is None:
                known = ", ".join(one.title for one in models)
                raise InvalidBody(
                    [FieldProblem("value_error", ("body", MODEL), f"Model not found. There are: {known}")]
                )
            await remember_model(self._studio, actor, place, profile)
        return web.json_response(None)

    async def _options(self, request: web.Request) -> dict[str, object]:
        models = await self._studio.models_of(actor_of(request), place_of(request))
        return {MODEL: models[0].title, **FIXED, "easel_version": version("easel")}
