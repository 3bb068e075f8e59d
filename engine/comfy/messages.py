"""Messages of a ComfyUI server's websocket, and entries of its history, as checked values. Nothing that it sends raises."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TEXT_CHARS = 2**20
"""Longest text message that is read. Longer ones are passed over: what they say is in the history, too."""

_REASON_CHARS = 300
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_MIMES = {1: "image/jpeg", 2: "image/png"}
_TYPES = frozenset({"output", "temp", "input"})
_FILES = 16
"""Most pictures of one prompt that are looked at."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A picture on the server, as ``GET /view`` takes it."""

    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True, slots=True)
class Started:
    """The server has begun a prompt."""

    prompt: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A node of a prompt has done ``share`` of its work, 0 to 1."""

    prompt: str
    share: float


@dataclass(frozen=True, slots=True)
class Executed:
    """An output node of a prompt has written pictures."""

    prompt: str
    files: tuple[OutputFile, ...]


@dataclass(frozen=True, slots=True)
class Succeeded:
    """All nodes of a prompt have run. Its entry in the history is written after this."""

    prompt: str


@dataclass(frozen=True, slots=True)
class Erred:
    """A node of a prompt failed."""

    prompt: str
    kind: str
    reason: str

    @property
    def out_of_memory(self) -> bool:
        """Whether the device's memory was short."""
        return "outofmemory" in self.kind.lower() or "out of memory" in self.reason.lower()


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Somebody has stopped a prompt."""

    prompt: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The server is done with a prompt, and its entry is in the history."""

    prompt: str


@dataclass(frozen=True, slots=True)
class PreviewPicture:
    """A preview of the prompt that runs; ``prompt`` is empty where the server does not say which."""

    prompt: str
    data: bytes
    mime: str


Message = Started | Progress | Executed | Succeeded | Erred | Interrupted | Ended


def read_text(text: str) -> Message | None:
    """Return what a text message says of a prompt; None for all others, and for what is no message."""
    if len(text) > TEXT_CHARS:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(data := found.get("data"), dict):
        return None
    prompt = data.get("prompt_id")
    return _read(found.get("type"), prompt, data) if isinstance(prompt, str) else None


def _read(kind: object, prompt: str, data: Mapping[str, Any]) -> Message | None:
    match kind:
        case "execution_start":
            return Started(prompt)
        case "progress":
            return _progress(prompt, [data])
        case "progress_state" if isinstance(nodes := data.get("nodes"), dict):
            return _progress(prompt, nodes.values())
        case "executed":
            return Executed(prompt, tuple(_files(data.get("output"))))
        case "execution_success":
            return Succeeded(prompt)
        case "execution_error":
            return Erred(prompt, _line(data.get("exception_type")), _line(data.get("exception_message")))
        case "execution_interrupted":
            return Interrupted(prompt)
        case "executing" if data.get("node", "") is None:
            return Ended(prompt)
    return None


def read_binary(data: bytes) -> PreviewPicture | None:
    """Return the preview in a binary message; None for others."""
    if len(data) < 8:
        return None
    kind, second = struct.unpack_from(">II", data)
    if kind == _PREVIEW and second in _MIMES:
        return PreviewPicture("", data[8:], _MIMES[second])
    if kind != _PREVIEW_WITH_METADATA or second > len(data) - 8:
        return None
    try:
        metadata = json.loads(data[8 : 8 + second])
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict):
        return None
    prompt, mime = metadata.get("prompt_id"), metadata.get("image_type")
    if not isinstance(prompt, str) or mime not in _MIMES.values():
        return None
    return PreviewPicture(prompt, data[8 + second :], str(mime))


def read_history(entry: object, prompt: str) -> tuple[Message, ...]:
    """Return what an entry of the history says: the pictures, and how the prompt ended; nothing where it is none."""
    if not isinstance(entry, dict):
        return ()
    outputs, status = entry.get("outputs"), entry.get("status")
    written = outputs.values() if isinstance(outputs, dict) else ()
    found: list[Message] = [Executed(prompt, tuple(_files(output))) for output in written]
    messages = status.get("messages") if isinstance(status, dict) else None
    for each in messages if isinstance(messages, list) else ():
        if isinstance(each, list) and len(each) == 2 and isinstance(each[1], dict):
            message = _read(each[0], prompt, each[1])
            if isinstance(message, Succeeded | Erred | Interrupted):
                found.append(message)
    return (*found, Ended(prompt))


def _progress(prompt: str, nodes: Any) -> Progress | None:
    """Return the progress of the node that is furthest in a work of several parts; None where there is none."""
    shares = []
    for node in nodes:
        if not isinstance(node, dict):
            continue
        value, most = _number(node.get("value")), _number(node.get("max"))
        # A node without steps of its own counts to 1.
        if value is not None and most is not None and most > 1:
            shares.append(min(1.0, max(0.0, value / most)))
    return Progress(prompt, max(shares)) if shares else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _files(output: object) -> Iterator[OutputFile]:
    images = output.get("images") if isinstance(output, dict) else None
    for each in images[:_FILES] if isinstance(images, list) else ():
        if not isinstance(each, dict):
            continue
        filename, subfolder, kind = each.get("filename"), each.get("subfolder", ""), each.get("type", "output")
        if isinstance(filename, str) and isinstance(subfolder, str) and filename and kind in _TYPES:
            yield OutputFile(filename, subfolder, str(kind))


def _line(value: object) -> str:
    """Return the first line of a text of the server, for logs."""
    return plain_line(value) if isinstance(value, str) else ""


def plain_line(text: str, most: int = _REASON_CHARS) -> str:
    """Return the first line of a text, without what is not printable, up to a number of characters."""
    first = next((line for line in text[: 4 * most].splitlines() if line.strip()), "")
    return "".join(char for char in first if char.isprintable()).strip()[:most]
