"""How many bytes a model takes: weights by precision, and what is alive while it draws. No torch.

The figures of each family are counted on its published architecture: on PyTorch's meta device, with every tensor's life
followed (``tests/unit/engine/diffusion/memory/test_estimate.py`` counts them again).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.contract import Profile

BYTES: Mapping[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}
"""Bytes of one number."""

NF4_BYTES = 0.5 + 4 / 64
"""Four bits, and a float32 scale for each block of 64 (arXiv 2305.14314, without double quantisation)."""

TILE = 512
"""Pixels a side that a tiled VAE works on at once, at most."""

_DECODE = 768
"""Numbers alive for each pixel while AutoencoderKL decodes: three maps of 256 channels at full size."""

_ENCODE = 640
"""Numbers alive for each pixel while it encodes."""

_TILED = 14
"""Numbers kept for each pixel while tiles are put together: they overlap by a quarter, and rows are joined."""

_VAE = 83_653_863


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of a family's published architecture.

    Attributes:
        denoiser: Name of the part that takes the steps.
        parameters: Of each part.
        cell: Pixels a side of one place of the denoiser's finest map.
        words: Places that a prompt takes beside them.
        alive: Numbers alive for each place in one pass.
        heads: Attention heads on the finest map that has attention.
        step: Pixels a side of one place of that map.
        linear: Share of each part's parameters that are weights of linear layers: what int8 and nf4 make smaller.
        leaf: Parameters of the denoiser's largest layer.
        text_leaf: Parameters of the text encoders' largest layer: its table of tokens.
        text_alive: Numbers alive while one prompt is encoded.
        fp16: Its denoiser and text encoders can compute in fp16.
        vae_fp16: Its VAE can.
    """

    denoiser: str
    parameters: Mapping[str, int]
    cell: int
    words: int
    alive: int
    heads: int
    step: int
    linear: Mapping[str, float]
    leaf: int
    text_leaf: int
    text_alive: int
    fp16: bool
    vae_fp16: bool


_FIGURES: Mapping[str, Figures] = {
    "z_image": Figures(
        denoiser="transformer",
        parameters={"transformer": 6_154_908_736, "text_encoder": 4_022_468_096, "vae": 83_819_683},
        cell=16,
        words=512,
        alive=60_800,
        heads=30,
        step=16,
        linear={"transformer": 0.9998, "text_encoder": 0.9033},
        leaf=39_321_600,
        text_leaf=388_956_160,
        text_alive=103_000_000,
        fp16=False,
        vae_fp16=False,
    ),
    "sdxl": Figures(
        denoiser="unet",
        parameters={
            "unet": 2_567_463_684,
            "text_encoder": 123_060_480,
            "text_encoder_2": 694_659_840,
            "vae": 83_653_863,
        },
        cell=8,
        words=0,
        alive=5_080,
        heads=10,
        step=16,
        linear={"unet": 0.8696, "text_encoder": 0.6902, "text_encoder_2": 0.908},
        leaf=29_492_480,
        text_leaf=63_242_240,
        text_alive=10_000_000,
        fp16=True,
        vae_fp16=False,
    ),
    "sd15": Figures(
        denoiser="unet",
        parameters={"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863},
        cell=8,
        words=0,
        alive=8_340,
        heads=8,
        step=8,
        linear={"unet": 0.3142, "text_encoder": 0.6902},
        leaf=29_492_480,
        text_leaf=37_945_344,
        text_alive=5_000_000,
        fp16=True,
        vae_fp16=True,
    ),
}


def figures(family: str) -> Figures:
    """Return what is known of a family; raises KeyError for one that nobody counted."""
    return _FIGURES[family]


def weights(parameters: int, precision: str, compute: str, linear: float) -> int:
    """Return the bytes of a part's weights.

    Args:
        parameters: How many it has.
        precision: ``fp32``, ``bf16``, ``fp16``, ``fp8``, ``int8`` or ``nf4``.
        compute: Number format of what int8 and nf4 leave as it is: tables, convolutions, norms.
        linear: Share of the parameters that they quantise.
    """
    if precision in BYTES:
        return parameters * BYTES[precision]
    each = 1.0 if precision == "int8" else NF4_BYTES
    return round(parameters * (linear * each + (1 - linear) * BYTES[compute]))


class Estimate:
    """Bytes of one profile's parts and pictures.

    Where a profile does not say how many parameters its parts have, the family's published model is taken.

    Args:
        profile: Which model.
        dense: The device's attention keeps every pair of places (as MPS does), not a tile of them at a time.
    """

    def __init__(self, profile: Profile, *, dense: bool = False) -> None:
        self.figures = figures(profile.family)
        self.guessed = self.figures.denoiser not in profile.parameters
        self._parameters = self.figures.parameters if self.guessed else profile.parameters
        self._dense = dense
        unguided = 0.0 if profile.family == "z_image" else 1.0
        self.passes = 2 if profile.guidance.high > unguided else 1
        self._width = _width(self._parameters, self.figures.parameters, self.figures.denoiser)
        self._vae_width: float = (self._parameters.get("vae", _VAE) / _VAE) ** 0.5

    @property
    def all_parameters(self) -> int:
        """Of all parts together."""
        return sum(self._parameters.values())

    def denoiser(self, precision: str, compute: str) -> int:
        """Return the bytes of the denoiser's weights."""
        name = self.figures.denoiser
        return weights(self._parameters[name], precision, compute, self.figures.linear[name])

    def text(self, precision: str, compute: str) -> int:
        """Return the bytes of all text encoders' weights."""
        return sum(
            weights(n, precision, compute, self.figures.linear.get(name, 0.0))
            for name, n in self._parameters.items()
            if name.startswith("text_encoder")
        )

    def vae(self, precision: str) -> int:
        """Return the bytes of the VAE's weights."""
        return weights(self._parameters.get("vae", _VAE), precision, precision, 0.0)

    def step(self, width: int, height: int, batch: int, compute: str) -> int:
        """Return the bytes alive while the denoiser takes one step with a batch, its guided half included.

        For models smaller than the published one it says more than it is: width is taken to shrink with the third
        root of the parameters, as if depth shrank alike.
        """
        known, rows = self.figures, batch * self.passes
        places = width * height / known.cell**2 + known.words
        found = places * known.alive * self._width * BYTES[compute] * rows
        if self._dense:
            pairs = (width * height / known.step**2 + known.words) ** 2
            found += pairs * known.heads * BYTES[compute] * rows
        return round(found)

    def decode(self, width: int, height: int, precision: str, *, tiled: bool) -> int:
        """Return the bytes alive while the VAE decodes one picture; encoding one takes less."""
        pixels = width * height
        if not tiled:
            return round(pixels * _DECODE * self._vae_width * BYTES[precision])
        tile = min(width, TILE) * min(height, TILE)
        return round((tile * _DECODE * self._vae_width + pixels * _TILED) * BYTES[precision])

    def encode(self, width: int, height: int, precision: str) -> int:
        """Return the bytes alive while the VAE encodes one picture, not tiled."""
        return round(width * height * _ENCODE * self._vae_width * BYTES[precision])

    def prompt(self, compute: str, *, streamed: bool) -> int:
        """Return the bytes alive while one prompt is encoded; ``streamed``: its layers come from main memory."""
        found = self.figures.text_alive * BYTES[compute]
        if streamed:
            found += self.figures.text_leaf * BYTES[compute]
        return round(found * min(1.0, self._width))

    def leaves(self, compute: str) -> int:
        """Return the bytes of the two largest layers: the one that is used and the one that is being copied."""
        return round(2 * self.figures.leaf * BYTES[compute] * min(1.0, self._width))


def _width(parameters: Mapping[str, int], published: Mapping[str, int], part: str) -> float:
    found: float = (parameters[part] / published[part]) ** (1 / 3)
    return found
