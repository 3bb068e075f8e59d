"""The client of one ComfyUI server: its routes and its websocket, with limits of time and size on all that it sends."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from engine.comfy.messages import OutputFile, plain_line
from engine.contract import BadRecipe

JSON_BYTES = 2**24
"""Most bytes of an answer in JSON; what a node class offers may list thousands of files."""

MESSAGE_BYTES = 2**23
"""Most bytes of a message of the websocket; previews are the largest."""

CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 1.0

_LARGE = 2**18
"""Bytes of JSON from which on it is read in a thread."""

_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404
_NAME_CHARS = 80
_DEVICE = re.compile(r"^[a-z]+:\d+ ")


class ServerLost(Exception):
    """The server is gone, silent, or answers what no ComfyUI server answers. One sentence."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server.

    Attributes:
        version: ComfyUI's version; empty if it does not say.
        device: Name of its first device, such as ``NVIDIA GeForce RTX 3090``; empty if it does not say.
        total: Bytes of the device's memory; 0 if unknown.
        free: Bytes of it that are free.
    """

    version: str
    device: str
    total: int = 0
    free: int = 0

    @property
    def title(self) -> str:
        """What people read of it."""
        return " ".join(filter(None, ("ComfyUI", self.version))) + (f", {self.device}" if self.device else "")

    @property
    def kind(self) -> str:
        """The kind of device that it is, whatever its version."""
        return " ".join(filter(None, ("ComfyUI", self.device)))


@dataclass(frozen=True, slots=True)
class Queue:
    """The ids of the server's prompts, those of other people too."""

    running: frozenset[str]
    waiting: frozenset[str]


class ComfyClient:
    """Speaks with one server. ``opened`` makes one.

    Every method raises ServerLost.

    Attributes:
        url: Of the server.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, silence: float) -> AsyncIterator[ComfyClient]:
        """Open a client and close it again.

        Args:
            url: Of the server, without a slash at its end.
            silence: Seconds for which the server may be silent while it answers.
        """
        timeout = aiohttp.ClientTimeout(
            total=4 * silence, sock_connect=min(CONNECT_SECONDS, silence), sock_read=silence
        )
        # Answers are not decompressed: a few bytes could become gigabytes.
        async with aiohttp.ClientSession(
            timeout=timeout, headers={"Accept-Encoding": "identity"}, auto_decompress=False
        ) as session:
            yield cls(session, url)

    @asynccontextmanager
    async def listening(self, client_id: str, heartbeat: float) -> AsyncIterator[AsyncIterator[str | bytes]]:
        """Connect to the websocket; yields its messages, which end when the connection does.

        Args:
            client_id: The server sends what concerns the prompts of this client.
            heartbeat: Seconds between two pings.
        """
        try:
            async with self._session.ws_connect(
                f"{self.url}/ws",
                params={"clientId": client_id},
                heartbeat=heartbeat,
                max_msg_size=MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            ) as socket:
                yield _messages(socket)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ServerLost(self._lost(error)) from error

    async def info(self) -> ServerInfo:
        """Return what the server is."""
        found = await self._get("/system_stats")
        system = found.get("system") if isinstance(found, dict) else None
        if not isinstance(system, dict):
            raise ServerLost(f"{self.url} is no ComfyUI server: /system_stats does not say what it is.")
        devices = found.get("devices")
        device = devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else {}
        return ServerInfo(
            _name(system.get("comfyui_version")),
            # Such as "cuda:0 NVIDIA GeForce RTX 3090 : cudaMallocAsync".
            _DEVICE.sub("", _name(device.get("name")).partition(" : ")[0]),
            _bytes(device.get("vram_total")),
            _bytes(device.get("vram_free")),
        )

    async def node_class(self, name: str) -> Mapping[str, Any] | None:
        """Return what the server says of a node class; None where it has none of that name."""
        if not name.strip("."):
            return None  # it would be another path
        found = await self._get(f"/object_info/{quote(name, safe='')}", missing={})
        about = found.get(name) if isinstance(found, dict) else None
        return about if isinstance(about, dict) else None

    async def submit(self, graph: Mapping[str, Any], client_id: str, prompt_id: str) -> str:
        """Put a prompt at the end of the server's queue.

        Args:
            graph: The workflow.
            client_id: As ``listening``.
            prompt_id: A UUID that the prompt should have.

        Returns:
            The id that the prompt has: old servers choose it themselves.

        Raises:
            BadRecipe: The server refuses it; the message says why.
        """
        body = {"prompt": graph, "client_id": client_id, "prompt_id": prompt_id}
        status, data = await self._request("POST", "/prompt", body=body)
        found = await self._json("/prompt", data)
        if status == _BAD_REQUEST:
            raise BadRecipe(f"The ComfyUI server refuses the workflow: {_refusal(found)}.")
        given = found.get("prompt_id") if isinstance(found, dict) else None
        if status != _OK or not isinstance(given, str) or not 0 < len(given) <= _NAME_CHARS:
            raise ServerLost(f"{self.url} answers {status} to a prompt, and not with its id.")
        return given

    async def queue(self) -> Queue:
        """Return the prompts that run and wait."""
        found = await self._get("/queue")
        if not isinstance(found, dict):
            raise ServerLost(f"{self.url} does not say what is in its queue.")
        return Queue(_ids(found.get("queue_running")), _ids(found.get("queue_pending")))

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or stop it if it is running. Prompts of others go on."""
        await self._post("/queue", {"delete": [prompt_id]})
        # Old servers stop whatever runs when they are told to.
        if prompt_id in (await self.queue()).running:
            await self._post("/interrupt", {"prompt_id": prompt_id})

    async def history(self, prompt_id: str) -> object:
        """Return a prompt's entry in the history, in the server's form; None where there is none."""
        found = await self._get(f"/history/{quote(prompt_id, safe='')}", missing={})
        return found.get(prompt_id) if isinstance(found, dict) else None

    async def forget(self, prompt_id: str) -> None:
        """Delete a prompt from the history."""
        await self._post("/history", {"delete": [prompt_id]})

    async def file(self, file: OutputFile, most: int) -> bytes | None:
        """Return the content of a picture; None where it is not there, or has more than ``most`` bytes."""
        params = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        status, data = await self._request("GET", "/view", params=params, most=most)
        return data if status == _OK else None

    async def _get(self, path: str, missing: object = None) -> Any:
        status, data = await self._request("GET", path)
        if status == _NOT_FOUND and missing is not None:
            return missing
        if status != _OK:
            raise ServerLost(f"{self.url} answers {status} to {path}.")
        return await self._json(path, data)

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        status, _ = await self._request("POST", path, body=body)
        if status != _OK:
            raise ServerLost(f"{self.url} answers {status} to {path}.")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        most: int = JSON_BYTES,
    ) -> tuple[int, bytes | None]:
        """Return an answer's status and content; None for one of more than ``most`` bytes."""
        try:
            # Redirects are not followed: the server would choose whom Easel asks next.
            async with self._session.request(
                method, f"{self.url}{path}", json=body, params=params, allow_redirects=False
            ) as answer:
                return answer.status, await _read(answer.content, most)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ServerLost(self._lost(error)) from error

    async def _json(self, path: str, data: bytes | None) -> Any:
        if data is None:
            raise ServerLost(f"{self.url} answers more than {JSON_BYTES >> 20} MiB to {path}.")
        try:
            return json.loads(data) if len(data) < _LARGE else await asyncio.to_thread(json.loads, data)
        except (ValueError, RecursionError):
            raise ServerLost(f"{self.url} does not answer with JSON to {path}.") from None

    def _lost(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"The ComfyUI server at {self.url} does not answer."
        reason = _reason(error) or type(error).__name__
        return f"The ComfyUI server at {self.url} can't be reached: {reason}."


def _reason(error: Exception) -> str:
    """Return why a connection failed, in the system's words where it is the system that says so."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return os.strerror(number) if number > 0 else plain_line(error.os_error.strerror or "")
    return plain_line(str(error))


async def _read(content: aiohttp.StreamReader, most: int) -> bytes | None:
    """Return all of a content; None where it has more than ``most`` bytes."""
    parts: list[bytes] = []
    size = 0
    async for part in content.iter_any():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


async def _messages(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[str | bytes]:
    async for message in socket:
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            yield message.data


def _name(value: object) -> str:
    return plain_line(value, _NAME_CHARS) if isinstance(value, str) else ""


def _bytes(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**50 else 0


def _ids(items: object) -> frozenset[str]:
    """Return the ids of prompts in a list of the queue: ``[number, id, ...]`` each."""
    given: Sequence[object] = items if isinstance(items, list) else ()
    return frozenset(each[1] for each in given if isinstance(each, list) and len(each) > 1 and isinstance(each[1], str))


def _refusal(found: object) -> str:
    """Return why a server refuses a prompt: its message, and the first fault of a node."""
    if not isinstance(found, dict):
        return "it does not say why"
    error, nodes = found.get("error"), found.get("node_errors")
    said = [error.get("message")] if isinstance(error, dict) else [error]
    for node in nodes.values() if isinstance(nodes, dict) else ():
        faults = node.get("errors") if isinstance(node, dict) else None
        if isinstance(faults, list) and faults and isinstance(faults[0], dict):
            said += [node.get("class_type"), faults[0].get("message"), faults[0].get("details")]
            break
    lines = [plain_line(each).rstrip(".") for each in said if isinstance(each, str)]
    return "; ".join(filter(None, lines)) or "it does not say why"
