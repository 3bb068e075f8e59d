"""A1111's listings: models, samplers, schedulers, LoRAs, styles, what Easel has none of, and what a picture's file says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import psutil
from aiohttp import web

from adapters.web.a1111.bodies import PngInfoBody, checked
from adapters.web.a1111.pictures import picture_of
from adapters.web.a1111.translation import KARRAS
from adapters.web.identity import actor_of, place_of
from adapters.web.request_checks import BodyReader
from adapters.web.routes import Handler, Role, Route
from bot.studio import Studio
from engine.contract import Profile

NONE_OF = {
    "latent-upscale-modes": [],
    "sd-vae": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "script-info": [],
    "extensions": [],
    "embeddings": {"loaded": {}, "skipped": {}},
    "scripts": {"txt2img": [], "img2img": []},
    "upscalers": [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 4}],
}
"""Listings that are the same everywhere: Easel has none of these things, and upscales by its own button."""

REFRESHED = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings")
"""What clients call before they list: Easel's lists are always fresh."""


class ListingHandlers:
    """Handlers of the listings, and of ``png-info``."""

    def __init__(self, studio: Studio, bodies: BodyReader) -> None:
        self._studio = studio
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes."""
        found: dict[str, Handler] = {
            "sd-models": self.models,
            "samplers": self.samplers,
            "schedulers": self.schedulers,
            "loras": self.loras,
            "prompt-styles": self.styles,
            "cmd-flags": self.flags,
            "memory": self.memory,
        }
        found |= {name: _constant(value) for name, value in NONE_OF.items()}
        return [
            *(Route("GET", f"/sdapi/v1/{name}", handler, Role.MEMBER) for name, handler in found.items()),
            *(Route("POST", f"/sdapi/v1/{name}", _constant(None), Role.MEMBER) for name in REFRESHED),
            Route("POST", "/sdapi/v1/png-info", self.png_info, Role.MEMBER),
        ]

    async def _models(self, request: web.Request) -> tuple[Profile, ...]:
        return await self._studio.models_of(actor_of(request), place_of(request))

    async def models(self, request: web.Request) -> web.Response:
        """List the models that the person may use. Their files are not told."""
        return web.json_response(
            [
                {
                    "title": one.title,
                    "model_name": one.name,
                    "hash": None,
                    "sha256": None,
                    "filename": one.name,
                    "config": None,
                }
                for one in await self._models(request)
            ]
        )

    async def samplers(self, request: web.Request) -> web.Response:
        """List the samplers of all models; those of the person's own come first."""
        names = _samplers(await self._models(request))
        return web.json_response([{"name": name, "aliases": [], "options": {}} for name in names])

    async def schedulers(self, request: web.Request) -> web.Response:
        """List the schedulers: the sampler's own, and Karras's where a model can be drawn with it."""
        names = ["Automatic"]
        if any(name.endswith(" Karras") for name in _samplers(await self._models(request))):
            names.append("Karras")
        return web.json_response(
            [
                {
                    "name": name.casefold(),
                    "label": name,
                    "aliases": None,
                    "default_rho": 7.0 if name.casefold() == KARRAS else -1,
                    "need_inner_model": False,
                }
                for name in names
            ]
        )

    async def loras(self, request: web.Request) -> web.Response:  # noqa: ARG002 - they are the same for everybody
        """List the LoRAs; ``alias`` is the name that prompts use."""
        return web.json_response(
            [
                {
                    "name": one.name,
                    "alias": one.name,
                    "path": one.name,
                    "metadata": {"ss_output_name": one.title, "trigger_words": list(one.triggers)},
                }
                for one in self._studio.loras()
            ]
        )

    async def styles(self, request: web.Request) -> web.Response:  # noqa: ARG002 - they are the same for everybody
        """List the styles with their templates."""
        return web.json_response(
            [
                {"name": name, "prompt": prompt, "negative_prompt": negative}
                for name, prompt, negative in self._studio.style_templates()
            ]
        )

    async def flags(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the command line as far as clients look at it: the API is on."""
        return web.json_response({"api": True, "nowebui": True, "share": False, "api_server_stop": False})

    async def memory(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the memory of this machine and of the engine's device, in bytes."""
        ram = psutil.virtual_memory()
        state = self._studio.engine()
        return web.json_response(
            {
                "ram": {"free": ram.available, "used": ram.total - ram.available, "total": ram.total},
                "cuda": {"device": state.device, "allocated": {"current": state.memory}},
            }
        )

    async def png_info(self, request: web.Request) -> web.Response:
        """Return what a picture's file says about how it was drawn."""
        async with self._bodies.large_json(request) as sent:
            data = await asyncio.to_thread(picture_of, checked(sent, PngInfoBody).image.strip(), "image")
        read = (await self._studio.inspect(actor_of(request), data)).found.parameters
        if read is None:
            return web.json_response({"info": "", "items": {}, "parameters": {}})
        parameters: dict[str, str | int] = {"Prompt": read.prompt, "Negative prompt": read.negative, **read.settings}
        if read.width and read.height:
            parameters |= {"Size-1": read.width, "Size-2": read.height}
        return web.json_response({"info": read.text, "items": {"parameters": read.text}, "parameters": parameters})


def _constant(value: object) -> Handler:
    async def answer(request: web.Request) -> web.Response:  # noqa: ARG001 - aiohttp's signature
        return web.json_response(value)

    return answer


def _samplers(models: Iterable[Profile]) -> list[str]:
    names = (name for one in models for name in (one.sampler, *one.samplers) if name)
    return list(dict.fromkeys(names))
