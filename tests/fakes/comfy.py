"""A stand-in for a ComfyUI server on loopback: its routes, its queue and the messages of its websocket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from PIL import Image as Pillow

from tests.fakes.comfy_spec import check

CHECKPOINT = "v1-5-pruned-emaonly.safetensors"
FILES: Mapping[str, tuple[str, ...]] = {
    "ckpt_name": (CHECKPOINT, "SDXL/sd_xl_base_1.0.safetensors"),
    "unet_name": ("z_image_turbo_bf16.safetensors",),
    "clip_name": ("qwen_3_4b.safetensors",),
    "vae_name": ("ae.safetensors",),
}
"""Files that a server with all three models has."""

STEP_SECONDS = 1e-7
"""Seconds of a step for each pixel."""


@dataclass(eq=False)
class Prompt:
    """A prompt in the server's queue."""

    number: int
    id: str
    graph: dict[str, Any]
    client: str
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def item(self) -> list[Any]:
        """As the queue shows it."""
        outputs = [name for name, node in self.graph.items() if node["class_type"] in OUTPUTS]
        return [self.number, self.id, self.graph, {"client_id": self.client}, outputs]

    def value(self, key: str) -> Any:
        """Return an input that one of its nodes has."""
        return next(node["inputs"][key] for node in self.graph.values() if key in node["inputs"])

    def text(self, name: str) -> str:
        """Return the text behind an input of its sampler, empty where nothing is encoded for it."""
        node = self.graph[self.value(name)[0]]
        return str(node["inputs"].get("text", ""))


OUTPUTS = ("PreviewImage", "SaveImage")


class NodeError(Exception):
    """A node's own exception, with the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class FakeComfy:
    """Draws flat pictures whose colours come from prompt and seed.

    Attributes:
        files: The files of each loader's input.
        lacking: Node classes that it does not have.
        submitted: Every prompt that it took, in order.
        interrupted: Bodies of ``POST /interrupt``, in order.
        history: Entries of the history, by prompt.
        views: Queries of ``GET /view``, in order.
        fail: Called with each prompt before its first step; may raise NodeError.
        picture: Returns the file that a prompt writes.
        pause: Awaited before each step; None: a time that follows the pixels.
        silent: It takes requests and answers none, not even pings.
        chooses_ids: It gives each prompt an id of its own, as old servers do.
        quiet: It says only how prompts end, and tells nothing of steps.
        previews: Whether it sends previews.
        mute: It sends no text messages.
        breaks: It takes a prompt, and the connection breaks before its answer.
        raw: What it answers instead, by the first part of the path.
    """

    def __init__(self) -> None:
        self.files = {key: list(names) for key, names in FILES.items()}
        self.lacking: set[str] = set()
        self.submitted: list[Prompt] = []
        self.interrupted: list[Mapping[str, Any]] = []
        self.history: dict[str, Any] = {}
        self.views: list[Mapping[str, str]] = []
        self.fail: Callable[[Prompt], None] = lambda _: None
        self.picture: Callable[[Prompt], bytes] = drawn
        self.pause: Callable[[], Awaitable[object]] | None = None
        self.raw: Mapping[str, Callable[[], web.StreamResponse]] = {}
        self.silent = False
        self.chooses_ids = False
        self.quiet = False
        self.previews = True
        self.mute = False
        self.breaks = False
        self.running: Prompt | None = None
        self.waiting: list[Prompt] = []
        self._numbers = itertools.count()
        self._written: dict[str, bytes] = {}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._added = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._worker: asyncio.Task[None] | None = None
        self._port = 0
        self.problems: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, always on the same port."""
        app = web.Application(middlewares=[self._middleware], client_max_size=2**24)
        app.add_routes(
            [
                web.get("/ws", self._ws),
                web.get("/system_stats", self._stats),
                web.get("/object_info/{name}", self._object_info),
                web.get("/queue", self._get_queue),
                web.post("/queue", self._post_queue),
                web.post("/prompt", self._post_prompt),
                web.post("/interrupt", self._interrupt),
                web.get("/history/{id}", self._get_history),
                web.post("/history", self._post_history),
                web.get("/view", self._view),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End at once, with all that it knows."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        for socket in list(self._sockets.values()):
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self.running = None
        self.waiting.clear()
        self.history.clear()

    def put(self, graph: dict[str, Any] | None = None, client: str = "somebody") -> Prompt:
        """Put a prompt of another person at the end of the queue."""
        given = graph or {"1": {"class_type": "KSampler", "inputs": {"steps": 1, "width": 64, "height": 64, "seed": 1}}}
        prompt = Prompt(next(self._numbers), str(uuid.uuid4()), given, client)
        self.waiting.append(prompt)
        self._added.set()
        return prompt

    # Routes

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.silent:
            await asyncio.Event().wait()
        path = "/" + request.path.split("/")[1]
        if path in self.raw:
            return self.raw[path]()
        try:
            return await handler(request)
        except AssertionError as error:
            self.problems.append(str(error))
            raise

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        client = check("requests", "GET /ws", dict(request.query))["clientId"]
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self._sockets[client] = socket
        await self._send("status", {"status": self._status(), "sid": client}, client)
        try:
            async for message in socket:
                if message.type is WSMsgType.PING and not self.silent:
                    await socket.pong(message.data)
        finally:
            if self._sockets.get(client) is socket:
                del self._sockets[client]
        return socket

    async def _stats(self, _: web.Request) -> web.Response:
        system = {
            "os": "posix",
            "comfyui_version": "0.3.60",
            "python_version": "3.12",
            "pytorch_version": "2.8",
            "argv": ["main.py"],
        }
        device = {
            "name": "cuda:0 NVIDIA GeForce RTX 3090 : cudaMallocAsync",
            "type": "cuda",
            "index": 0,
            "vram_total": 24 * 2**30,
            "vram_free": 20 * 2**30,
        }
        return _answer("GET /system_stats", {"system": system, "devices": [device]})

    async def _object_info(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = self._class(name)
        return _answer("GET /object_info/{node_class}", {} if found is None else {name: found})

    def _class(self, name: str) -> dict[str, Any] | None:
        if name in self.lacking or name not in CLASSES:
            return None
        inputs: dict[str, Any] = {}
        for key in CLASSES[name]:
            if key in self.files:
                # Old and new nodes say it differently.
                inputs[key] = (
                    [list(self.files[key]), {}] if key != "vae_name" else ["COMBO", {"options": self.files[key]}]
                )
            elif key in CHOICES:
                inputs[key] = [list(CHOICES[key])]
            else:
                inputs[key] = ["STRING", {}]
        return {"input": {"required": inputs}, "output": [], "name": name, "output_node": name in OUTPUTS}

    async def _get_queue(self, _: web.Request) -> web.Response:
        running = [self.running.item] if self.running is not None else []
        pending = [prompt.item for prompt in self.waiting]
        return _answer("GET /queue", {"queue_running": running, "queue_pending": pending})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = check("requests", "POST /queue", await request.json())
        self.waiting = [prompt for prompt in self.waiting if prompt.id not in body["delete"]]
        return web.Response()

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = check("requests", "POST /prompt", await request.json())
        refused = self._refusal(body["prompt"])
        if refused is not None:
            return web.json_response(check("answers", "POST /prompt 400", refused), status=400)
        name = str(uuid.uuid4()) if self.chooses_ids else body.get("prompt_id") or str(uuid.uuid4())
        prompt = Prompt(next(self._numbers), name, body["prompt"], body["client_id"])
        self.submitted.append(prompt)
        self.waiting.append(prompt)
        self._added.set()
        if self.breaks and request.transport is not None:
            request.transport.abort()
        return _answer("POST /prompt", {"prompt_id": name, "number": prompt.number, "node_errors": {}})

    def _refusal(self, graph: dict[str, Any]) -> dict[str, Any] | None:
        for name, node in graph.items():
            kind = node["class_type"]
            if self._class(kind) is None:
                return {
                    "error": {
                        "type": "missing_node_type",
                        "message": f"Node '{kind}' not found. The custom node may not be installed.",
                        "details": f"Node ID '#{name}'",
                        "extra_info": {"node_id": name, "class_type": kind},
                    },
                    "node_errors": {},
                }
            for key, value in node["inputs"].items():
                offered = self.files.get(key, CHOICES.get(key))
                if offered is not None and value not in offered:
                    fault = {
                        "type": "value_not_in_list",
                        "message": "Value not in list",
                        "details": f"{key}: {value!r} not in {list(offered)}",
                        "extra_info": {},
                    }
                    failed = {"errors": [fault], "dependent_outputs": [], "class_type": kind}
                    error = {
                        "type": "prompt_outputs_failed_validation",
                        "message": "Prompt outputs failed validation",
                        "details": "",
                        "extra_info": {},
                    }
                    return {"error": error, "node_errors": {name: failed}}
                if key in NUMBERS:
                    assert isinstance(value, int | float), f"{key} is {value!r}, and no number"
        return None

    async def _interrupt(self, request: web.Request) -> web.Response:
        body = check("requests", "POST /interrupt", await request.json())
        self.interrupted.append(body)
        if self.running is not None and self.running.id == body["prompt_id"]:
            self.running.stopped.set()
        return web.Response()

    async def _get_history(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        return _answer("GET /history/{prompt_id}", {name: self.history[name]} if name in self.history else {})

    async def _post_history(self, request: web.Request) -> web.Response:
        for name in check("requests", "POST /history", await request.json())["delete"]:
            self.history.pop(name, None)
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        query = check("requests", "GET /view", dict(request.query))
        self.views.append(query)
        if query["filename"] not in self._written:
            return web.Response(status=404)
        return web.Response(body=self._written[query["filename"]], content_type="image/png")

    # Drawing

    async def _work(self) -> None:
        while True:
            while not self.waiting:
                self._added.clear()
                await self._added.wait()
            prompt = self.running = self.waiting.pop(0)
            await self._send("status", {"status": self._status()})
            said: list[Any] = []
            outputs: dict[str, Any] = {}
            try:
                await self._execute(prompt, said, outputs)
            finally:
                self.running = None
            done = bool(said) and said[-1][0] == "execution_success"
            self.history[prompt.id] = {
                "prompt": prompt.item,
                "outputs": outputs,
                "status": {"status_str": "success" if done else "error", "completed": done, "messages": said},
                "meta": {},
            }
            await self._send("executing", {"node": None, "prompt_id": prompt.id}, prompt.client)
            await self._send("status", {"status": self._status()})

    async def _execute(self, prompt: Prompt, said: list[Any], outputs: dict[str, Any]) -> None:
        async def say(kind: str, **more: Any) -> None:
            data = {"prompt_id": prompt.id, **more, "timestamp": 1}
            said.append([kind, data])
            await self._send(kind, data, prompt.client)

        about: dict[str, Any] = {"node_id": "sampler", "node_type": "KSampler", "executed": []}
        await say("execution_start")
        await say("execution_cached", nodes=[])
        try:
            self.fail(prompt)
            for step in range(1, int(prompt.value("steps")) + 1):
                await self._pause(prompt)
                if prompt.stopped.is_set():
                    return await say("execution_interrupted", **about)
                if not self.quiet:
                    await self._tell_step(prompt, step)
        except NodeError as error:
            return await say(
                "execution_error",
                **about,
                exception_message=f"{error}\n",
                exception_type=error.kind,
                traceback=["a line\n"],
                current_inputs={},
                current_outputs=[],
            )
        for node in prompt.item[4]:
            filename = f"ComfyUI_temp_{prompt.number:05}_.png"
            self._written[filename] = await asyncio.to_thread(self.picture, prompt)
            outputs[node] = {"images": [{"filename": filename, "subfolder": "", "type": "temp"}]}
            if not self.quiet:
                data = {"node": node, "display_node": node, "output": outputs[node], "prompt_id": prompt.id}
                await self._send("executed", data, prompt.client)
        return await say("execution_success")

    async def _pause(self, prompt: Prompt) -> None:
        if self.pause is not None:
            await self.pause()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(prompt.value("width") * prompt.value("height") * STEP_SECONDS):
                await prompt.stopped.wait()

    async def _tell_step(self, prompt: Prompt, step: int) -> None:
        node = {"value": step, "max": prompt.value("steps"), "state": "running", "node_id": "sampler"}
        nodes = {
            "sampler": {**node, "prompt_id": prompt.id},
            "model": {**node, "value": 1, "max": 1, "prompt_id": prompt.id},
        }
        await self._send("progress_state", {"prompt_id": prompt.id, "nodes": nodes}, prompt.client)
        data = {"value": step, "max": prompt.value("steps"), "prompt_id": prompt.id, "node": "sampler"}
        await self._send("progress", data, prompt.client)
        if self.previews:
            small = io.BytesIO()
            Pillow.new("RGB", (64, 64), "gray").save(small, "JPEG")
            await self.send_bytes(struct.pack(">II", 1, 1) + small.getvalue(), prompt.client)

    # Messages

    def _status(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.waiting) + (self.running is not None)}}

    async def _send(self, kind: str, data: dict[str, Any], client: str | None = None) -> None:
        await self.send_text(json.dumps({"type": kind, "data": check("messages", kind, data)}), client)

    async def send_text(self, text: str, client: str | None = None) -> None:
        """Send a text message to one client, or to all."""
        if self.mute:
            return
        for name, socket in list(self._sockets.items()):
            if client in {None, name} and not self.silent:
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(text)

    async def send_bytes(self, data: bytes, client: str | None = None) -> None:
        """Send a binary message to one client, or to all."""
        for name, socket in list(self._sockets.items()):
            if client in {None, name} and not self.silent:
                with contextlib.suppress(ConnectionError):
                    await socket.send_bytes(data)

    async def hang_up(self) -> None:
        """Close every websocket; the server goes on."""
        for socket in list(self._sockets.values()):
            await socket.close()


CLASSES: Mapping[str, tuple[str, ...]] = {
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "CLIPLoader": ("clip_name", "type", "device"),
    "VAELoader": ("vae_name",),
    "ModelSamplingAuraFlow": ("model", "shift"),
    "CLIPTextEncode": ("clip", "text"),
    "ConditioningZeroOut": ("conditioning",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "KSampler": ("model", "positive", "negative", "latent_image", "seed", "steps", "cfg", "sampler_name", "scheduler"),
    "VAEDecode": ("samples", "vae"),
    "PreviewImage": ("images",),
    "SaveImage": ("images", "filename_prefix"),
}
"""Node classes with their inputs."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "weight_dtype": ("default", "fp8_e4m3fn"),
    "type": ("stable_diffusion", "lumina2"),
    "device": ("default", "cpu"),
    "sampler_name": ("euler", "dpmpp_2m"),
    "scheduler": ("normal", "simple"),
}

NUMBERS = frozenset({"width", "height", "seed", "steps", "cfg", "batch_size", "shift"})


def _answer(name: str, body: Any) -> web.Response:
    return web.json_response(check("answers", name, body))


def drawn(prompt: Prompt) -> bytes:
    """Return a PNG with an edge in a colour of the prompt, and a middle in one of prompt and seed."""
    positive = prompt.text("positive")
    edge = hashlib.sha256(positive.encode()).digest()
    middle = hashlib.sha256(f"{prompt.value('seed')} {prompt.text('negative')} {positive}".encode()).digest()
    return flat(prompt.value("width"), prompt.value("height"), (edge[0], edge[1], edge[2]), middle)


def flat(width: int, height: int, edge: tuple[int, int, int], middle: bytes, kind: str = "PNG") -> bytes:
    """Return a picture of two colours."""
    picture = Pillow.new("RGB", (width, height), edge)
    picture.paste((middle[0], middle[1], middle[2]), (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


@contextlib.asynccontextmanager
async def comfy() -> AsyncIterator[FakeComfy]:
    """A server that runs; afterwards, every request that it got fitted the description."""
    server = FakeComfy()
    await server.start()
    try:
        yield server
        assert not server.problems, server.problems
    finally:
        await server.stop()
