"""Decodes finished pictures on a second stream of the device, while its first one takes the steps of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.diffusion.image_encoder import packed
from engine.diffusion.request_state import RequestState
from engine.families.denoise_state import PictureState


class Stream(Protocol):
    """A second queue of work of a device."""

    def entered(self) -> AbstractContextManager[None]:
        """Inside of it, work is queued here, behind what the device was given before."""

    def event(self) -> Any:
        """Return what is used of a ``torch.Event`` with timing, recorded here now."""

    def to_host(self, tensor: Tensor) -> Tensor:
        """Return a copy in main memory, which is complete after the next event."""


class SideStream:
    """A second stream of a CUDA device. Implements ``Stream``."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """See Stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def event(self) -> Any:
        """See Stream."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def to_host(self, tensor: Tensor) -> Tensor:
        """See Stream."""
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def side_stream(device: torch.device) -> Stream | None:
    """Return a second stream of a device; None where it has none."""
    return SideStream(device) if device.type == "cuda" else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture that was decoded while others took steps.

    Attributes:
        request: Its request.
        state: Its state, as it was when its last step had been taken.
        pixels: (height, width, 3); None where a value is not finite.
        seconds: How long the device took.
    """

    request: RequestState
    state: PictureState
    pixels: NDArray[np.uint8] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A picture whose pixels are complete after ``end``. The state keeps the latents in memory until then."""

    request: RequestState
    state: PictureState
    pixels: Tensor
    finite: Tensor
    begin: Any
    end: Any

    def decoded(self) -> Decoded:
        """Wait for the pixels."""
        self.end.synchronize()
        seconds = self.begin.elapsed_time(self.end) / 1000
        return Decoded(self.request, self.state, self.pixels.numpy() if self.finite else None, seconds)


class SideDecoder:
    """The pictures that are being decoded on a device's second stream.

    Args:
        stream: The stream; None where the device has none.
    """

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self._running: list[_Decoding] = []

    def __len__(self) -> int:
        return len(self._running)

    @torch.no_grad()
    def start(self, request: RequestState, state: PictureState, decode: Callable[[], Tensor]) -> bool:
        """Begin to decode a picture and return at once; False where the device has no second stream.

        Args:
            request: Its request.
            state: Its state after its last step.
            decode: Returns the picture, (height, width, 3) from 0 to 1, on the device.

        Raises:
            Exception: Whatever ``decode`` raises; nothing was begun.
        """
        if self._stream is None:
            return False
        with self._stream.entered():
            begin = self._stream.event()
            pixels, finite = packed(decode())
            found = self._stream.to_host(pixels), self._stream.to_host(finite)
            self._running.append(_Decoding(request, state, *found, begin, self._stream.event()))
        return True

    def take(self, *, wait: bool = False) -> Iterator[Decoded]:
        """Yield the pictures that are ready, or all of them after a ``wait``."""
        for one in list(self._running):
            if wait or one.end.query():
                self._running.remove(one)
                yield one.decoded()
