"""Calls of a pipeline: paused on a thread of their own, with the results of ``encode_prompt`` kept."""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from engine.families.denoise_state import Embedding
from engine.families.family import EmbedPrompt

T = TypeVar("T")

_PAUSE_SOFT = 1
"""OpenMP's ``omp_pause_soft``: what is released is made again when it is needed."""


@cache
def _openmp() -> Callable[[int], int] | None:
    """Return ``omp_pause_resource_all`` of the OpenMP that PyTorch brings on Linux; None elsewhere."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libgomp.so.1"))
        found: Callable[[int], int] = library.omp_pause_resource_all
    except (OSError, AttributeError):
        return None
    return found


def release_openmp_threads() -> None:
    """End the OpenMP threads of the calling thread; its next computation on the CPU starts them again.

    Each thread that computes has OpenMP threads of its own. Where all of them are more than the cores, OpenMP lets none
    of them spin, which takes up to twice the time for small pictures (docs/adr/0023).
    """
    if (pause := _openmp()) is not None:
        pause(_PAUSE_SOFT)


class PausedCall(Generic[T]):
    """Runs a function from one pause to the next, each time that ``resume`` is called.

    One of the two threads runs at any time. The function keeps its stack while it is paused. Its thread ends when the
    function returns or raises, or with ``close``. All methods but the function itself are for one thread.

    Args:
        function: Called with a function that pauses it.
        name: Name of its thread.

    Attributes:
        closed: Whether the call was given up before the function returned.
    """

    def __init__(self, function: Callable[[Callable[[], None]], T], name: str) -> None:
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run, function), name=name, daemon=True
        )
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._through = False
        self._ended = False
        self.closed = False

    @property
    def returned(self) -> bool:
        """Whether the function has returned."""
        return bool(self._result)

    @property
    def failed(self) -> bool:
        """Whether the function has ended without a result, by an exception or by ``close``."""
        return self._ended and not self._result

    @property
    def result(self) -> T:
        """What the function has returned."""
        (found,) = self._result
        return found

    def resume(self) -> None:
        """Run the function until it pauses, returns or raises.

        Raises what the function raises, and RuntimeError if it has ended.
        """
        if self.returned or self.failed:
            raise RuntimeError("the call has ended")
        release_openmp_threads()
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        self._back.acquire()
        if self._ended:
            self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its frames hold tensors

    def finish(self) -> T:
        """Run the function to its end, through all pauses, and return what it returns."""
        self._through = True
        if not self.returned:
            self.resume()
        return self.result

    def close(self) -> None:
        """End the function where it is paused: the pause raises, and nothing of it goes on. Not begun, it never runs."""
        if self._ended:
            return
        self.closed = True
        if self._thread.ident is not None:
            self._go.release()
            self._back.acquire()
            self._thread.join()
        self._ended, self._error = True, None

    def _run(self, function: Callable[[Callable[[], None]], T]) -> None:
        try:
            self._result.append(function(self._pause))
        except BaseException as e:  # noqa: BLE001  # it is raised where the call is resumed
            self._error = e.with_traceback(None) if isinstance(e, _Closed) else e
        finally:
            self._ended = True
            del function
            self._back.release()

    def _pause(self) -> None:
        if self._through:
            return
        if self.closed:
            raise _Closed
        release_openmp_threads()
        self._back.release()
        self._go.acquire()
        if self.closed:
            raise _Closed


class _Closed(BaseException):
    """Raised in a pause of a call that was closed. No ``except Exception`` of a pipeline catches it."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt(Embedding):
    """The result of a call of ``encode_prompt``.

    Attributes:
        result: What the call returned; None if it holds more than tensors, plain values and lists of them, so that it
            can't be handed out twice.
    """

    result: Any = None


def keep_encoded(pipe: Any, embed: EmbedPrompt, prompt: str, setting: str) -> None:
    """Let a pipeline take its embeddings from a cache.

    Args:
        pipe: One picture's own copy of a pipeline; its ``encode_prompt`` is replaced where it has one.
        embed: The cache.
        prompt: The picture's prompt.
        setting: What else decides the embeddings, beside the arguments of the call.
    """
    encode = getattr(pipe, "encode_prompt", None)
    if encode is None:
        return

    @wraps(encode)  # pipelines look at its arguments
    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        key = digest((type(pipe).__name__, setting, args, kwargs))
        if not key:
            return encode(*args, **kwargs)
        made: list[Any] = []

        def run(_: str) -> Embedding:
            made.append(encode(*args, **kwargs))
            tensors: list[Tensor] = []
            kept = _copied(made[0], tensors)
            return EncodedPrompt(() if kept is None else tuple(tensors), result=kept)

        found = embed(run, prompt, key)
        if made:
            return made[0]
        result = found.result if isinstance(found, EncodedPrompt) else None
        return encode(*args, **kwargs) if result is None else _copied(result, [])

    pipe.encode_prompt = encode_prompt


def digest(arguments: object) -> str:
    """Return a digest of the arguments of a call; empty if one of them has no content that could be compared."""
    found = sha256()
    try:
        _feed(found.update, arguments)
    except _NoContentError:
        return ""
    return found.hexdigest()


class _NoContentError(Exception):
    """A value has no content that could be compared."""


def _feed(update: Callable[[bytes], object], value: object) -> None:
    """Pass the content of a value on. Raises _NoContentError."""
    match value:
        case None | str() | bool() | int() | float() | torch.device() | torch.dtype():
            update(f"{type(value).__name__} {value!r};".encode("utf-8", "surrogatepass"))
        case Tensor():
            update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
            update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        case np.ndarray():
            update(f"array {value.dtype} {value.shape};".encode())
            update(value.tobytes())
        case Pillow.Image():
            update(f"picture {value.mode} {value.size};".encode())
            update(value.tobytes())
        case list() | tuple():
            update(f"list {len(value)};".encode())
            for each in value:
                _feed(update, each)
        case Mapping():
            update(f"mapping {len(value)};".encode())
            for name, each in value.items():
                _feed(update, name)
                _feed(update, each)
        case _:
            raise _NoContentError


def _copied(value: Any, tensors: list[Tensor]) -> Any:
    """Return a copy of a result, and collect its tensors; None if it holds more than tensors and plain values."""
    if isinstance(value, Tensor):
        tensors.append(value.clone())
        return tensors[-1]
    if isinstance(value, list | tuple):
        parts = [_copied(each, tensors) for each in value]
        if any(part is None and each is not None for part, each in zip(parts, value, strict=True)):
            return None
        return parts if isinstance(value, list) else tuple(parts)
    return value if isinstance(value, str | bool | int | float) else None
