"""Frames that carry typed messages over a pipe, in both directions.

A frame is two big-endian 32-bit lengths, a JSON header of the first length and raw bytes of the second. A message is a
frozen dataclass; its fields may hold dataclasses, enumerations, tuples, sets and mappings. One ``bytes`` field of it
(a picture) becomes the raw bytes, so that pictures never pass through JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

M = TypeVar("M")

HEAD = struct.Struct(">II")
"""The two lengths before each frame."""

MAX_HEADER = 16 * 2**20
"""Bytes; sixteen recipes with the longest prompts take less than one."""

MAX_PAYLOAD = 512 * 2**20
"""Bytes; a 2048x2048 PNG takes at most 13 million."""


class WireError(Exception):
    """The other side sent something that is not a message: its pipe can't be trusted any more."""


class Codec(Generic[M]):
    """Encodes and decodes the messages of one conversation.

    Args:
        messages: A union of the message classes; their names go over the wire.
    """

    def __init__(self, messages: Any) -> None:
        self._kinds: Mapping[str, type[M]] = {kind.__name__: kind for kind in get_args(messages)}

    def encode(self, message: M) -> bytes:
        """Return a message as one frame."""
        payload: list[bytes] = []
        header = {"kind": type(message).__name__, **_to_json(message, payload)}
        # ASCII escapes carry even lone surrogates, which UTF-8 can't.
        raw = json.dumps(header, ensure_ascii=True).encode("ascii")
        data = b"".join(payload)
        return HEAD.pack(len(raw), len(data)) + raw + data

    def decode_all(self, frames: bytes) -> list[M]:
        """Return the messages of whole frames, one after the other; raises WireError if they are none."""
        messages, at = [], 0
        while at < len(frames):
            header, payload = lengths(frames[at : at + HEAD.size].ljust(HEAD.size, b"\0"))
            start, at = at + HEAD.size, at + HEAD.size + header + payload
            if at > len(frames):
                raise WireError("a frame that ends too early")
            messages.append(self.decode(frames[start : start + header], frames[start + header : at]))
        return messages

    def decode(self, header: bytes, payload: bytes) -> M:
        """Return the message of one frame; raises WireError if it is none."""
        try:
            values = json.loads(header)
            kind = self._kinds[values.pop("kind")]
            message: M = _from_json(kind, values, payload)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise WireError(f"not a message: {e!r}") from e
        return message


def lengths(head: bytes) -> tuple[int, int]:
    """Return the lengths of header and payload in bytes; raises WireError if they can't be true."""
    header, payload = HEAD.unpack(head)
    if not 0 < header <= MAX_HEADER or payload > MAX_PAYLOAD:
        raise WireError(f"a frame of {header} and {payload} bytes")
    return header, payload


def _to_json(value: Any, payload: list[bytes]) -> Any:
    if isinstance(value, bytes):
        payload.append(value)
        return None
    if is_dataclass(value):
        return {field.name: _to_json(getattr(value, field.name), payload) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _to_json(inner, payload) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_to_json(inner, payload) for inner in value]
    return sorted(value) if isinstance(value, frozenset) else value


def _from_json(hint: Any, value: Any, payload: bytes) -> Any:
    """Return a value of the type that a hint names. Raises TypeError, ValueError or AttributeError for another one."""
    if hint is bytes:
        return payload
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        inner = (args[0],) * len(value) if args[-1] is Ellipsis else args
        return tuple(_from_json(of, v, payload) for of, v in zip(inner, value, strict=True))
    if origin is frozenset:
        return frozenset(_from_json(args[0], v, payload) for v in value)
    if origin is Mapping:
        return {name: _from_json(args[1], v, payload) for name, v in value.items()}
    kind = origin or hint
    if not isinstance(kind, type):
        return value  # a union of plain types, or the type of a generic class
    if is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _from_json(hints[name], v, payload) for name, v in value.items()})
    if issubclass(kind, Enum):
        return kind(value)
    if not isinstance(value, (float, int) if kind is float else kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)
