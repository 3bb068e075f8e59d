"""Estimates the bytes that a model takes: its weights by precision, and its activations while it draws. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from engine.contract import Profile
from engine.diffusion.memory.types import CPU, CUDA, MPS, Placement, StoredWeights
from engine.families.registry import spec_of
from engine.families.spec import DENOISERS, TEXT_ENCODER

BYTES: Mapping[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}
"""Bytes of one element."""

NF4_BYTES = 0.5 + 4 / 64
"""Bytes of one element: four bits, and a float32 scale for each block of 64 (arXiv 2305.14314, not double-quantised)."""

TILE = 512
"""Largest side in pixels of a tile of the VAE."""

_DECODE = 768
"""Elements alive for each pixel while AutoencoderKL decodes: three feature maps of 256 channels at full size."""

_ENCODE = 640
"""Elements alive for each pixel while it encodes."""

_TILED = 14
"""Elements kept for each pixel while tiles are joined: they overlap by a quarter."""

_WORKSPACE = 1024
"""Bytes of cuDNN's workspaces for each pixel that AutoencoderKL decodes at once: 1 GiB for 1024x1024."""

EMBEDDINGS = 64 * 2**20
"""Bytes of a GPU that cached embeddings of prompts take: 25 of the longest of Z-Image, or hundreds of usual ones."""

CHUNK = 16 * 2**20
"""Elements of a layer's result that are multiplied in eight bits at once (``engine.diffusion.memory.w8a8``)."""

_CHUNK_BYTES = 12 * CHUNK
"""Bytes that such a layer takes for a while: sums in int32 and float32, and inputs in fp16 and in eight bits."""

_VAE = 83_653_863
"""Parameters of the AutoencoderKL of Stable Diffusion, which the figures above were counted on."""


def weights(parameters: int, precision: str, compute: str, linear: float) -> int:
    """Return the bytes of a part's weights.

    Args:
        parameters: Number of its parameters.
        precision: ``fp32``, ``bf16``, ``fp16``, ``fp8``, ``int8`` or ``nf4``.
        compute: Format of what int8 and nf4 do not quantise: embeddings, convolutions, norms.
        linear: Share of the parameters that they quantise.
    """
    if precision in BYTES:
        return parameters * BYTES[precision]
    each = 1.0 if precision == "int8" else NF4_BYTES
    return round(parameters * (linear * each + (1 - linear) * BYTES[compute]))


class Estimate:
    """Bytes of one model's weights and activations.

    A profile that states no parameters is taken to have those of the family's published model.

    Args:
        profile: The model.
        kind: The device: ``cuda``, ``mps`` or ``cpu``. Attention keeps the whole attention matrix on MPS, and tiles of it
            elsewhere; convolutions have workspaces on CUDA.

    Attributes:
        footprint: The family's memory figures.
        guessed: Whether the profile states no parameters.
        passes: Forward passes in a step: 2 where the profile allows guidance.
    """

    def __init__(self, profile: Profile, kind: str = CPU) -> None:
        family = spec_of(profile.family)
        self.footprint = family.footprint
        # Pipelines of one family have one denoiser, but where the family takes any class.
        self._denoiser = next((name for name in profile.parameters if name in DENOISERS), family.denoiser)
        self.guessed = self._denoiser not in profile.parameters
        self.passes = 2 if profile.guidance.high > family.unguided_below else 1
        self._references = profile.references
        self._parameters = self.footprint.parameters if self.guessed else profile.parameters
        self._dense = kind == MPS
        self._kind = kind
        self._width: float = (self._parameters[self._denoiser] / self.footprint.parameters[family.denoiser]) ** (1 / 3)
        self._vae_width: float = (self._parameters.get("vae", _VAE) / _VAE) ** 0.5

    @property
    def all_parameters(self) -> int:
        """Parameters of all parts together."""
        return sum(self._parameters.values())

    def denoiser(self, precision: str, compute: str) -> int:
        """Return the bytes of the denoiser's weights."""
        name = self._denoiser
        return weights(self._parameters[name], precision, compute, self.footprint.linear_share[name])

    def text(self, precision: str, compute: str) -> int:
        """Return the bytes of all text encoders' weights."""
        return sum(
            weights(n, precision, compute, self.footprint.linear_share.get(name, 0.0))
            for name, n in self._parameters.items()
            if name.startswith(TEXT_ENCODER)
        )

    def vae(self, precision: str) -> int:
        """Return the bytes of the weights of the VAE and of parts that are not quantised, such as image encoders."""
        others = sum(
            n
            for name, n in self._parameters.items()
            if name not in ("vae", self._denoiser) and not name.startswith(TEXT_ENCODER)
        )
        return weights(self._parameters.get("vae", _VAE) + others, precision, precision, 0.0)

    def converted(self, stored: StoredWeights, placement: Placement) -> tuple[int, int]:
        """Return the bytes of main memory of the parts that are converted as a whole, and of the largest layer of others.

        Weights are mapped from their files, converted or quantised one by one, and moved to their place. A part whose
        files mix formats is converted before that.

        Args:
            stored: How the files hold the weights.
            placement: The formats that they are loaded in.
        """
        whole = layer = 0
        for name, parameters in self._parameters.items():
            held = stored.formats.get(name)
            if held is None:
                continue
            if name == self._denoiser and placement.precision == "nf4":
                # A library quantises this part while it reads it.
                whole += weights(parameters, "nf4", placement.compute, self.footprint.linear_share.get(name, 0.0))
            elif held != placement.loaded and name in stored.mapped:
                layer = max(layer, self._largest(name) * BYTES[placement.loaded])
            elif held != placement.loaded:
                whole += weights(parameters, placement.loaded, placement.loaded, 0.0)
        return whole, layer

    def placing(self, placement: Placement) -> int:
        """Return the bytes of the device that placing the largest layer takes in addition to its weights: quantising it in fp32."""
        if placement.precision != "int8":
            return 0
        return round(
            self.footprint.largest_layer * (BYTES[placement.loaded] + 2 * BYTES["fp32"]) * min(1.0, self._width)
        )

    def _largest(self, name: str) -> int:
        """Return the parameters of a part's largest layer, at most."""
        known = self.footprint
        if name == self._denoiser:
            largest = known.largest_layer
        elif name.startswith(TEXT_ENCODER):
            largest = known.text_pair  # an embedding and a block
        else:
            return self._parameters[name]
        return min(self._parameters[name], round(largest * min(1.0, self._width)))

    def step(self, width: int, height: int, batch: int, compute: str, *, w8a8: bool = False) -> int:
        """Return the bytes alive while the denoiser takes one step with a batch, including its guided half.

        Each reference picture is taken to be as large as the picture.

        For models smaller than the published one this is an overestimate: the width is assumed to scale with the cube
        root of the parameters, as if the depth scaled alike.
        """
        known, rows = self.footprint, batch * self.passes
        pixels = width * height * (1 + self._references)
        positions = pixels / known.token_side**2 + known.prompt_tokens
        found = positions * known.activations * self._width * BYTES[compute] * rows
        if self._dense:
            pairs = (pixels / known.attention_side**2 + known.prompt_tokens) ** 2
            found += pairs * known.attention_heads * BYTES[compute] * rows
        return round(found + (min(found, _CHUNK_BYTES) if w8a8 else 0))

    def decode(self, width: int, height: int, precision: str, *, tiled: bool) -> int:
        """Return the bytes alive while the VAE decodes one picture. Encoding takes less."""
        pixels = width * height
        if not tiled:
            return round(pixels * _DECODE * self._vae_width * BYTES[precision])
        tile = min(width, TILE) * min(height, TILE)
        return round((tile * _DECODE * self._vae_width + pixels * _TILED) * BYTES[precision])

    def encode(self, width: int, height: int, precision: str) -> int:
        """Return the bytes alive while the VAE encodes one picture, not tiled."""
        return round(width * height * _ENCODE * self._vae_width * BYTES[precision])

    def workspace(self, width: int, height: int, *, tiled: bool) -> int:
        """Return the bytes that libraries take for themselves while the VAE decodes one picture."""
        if self._kind != CUDA:
            return 0
        pixels = min(width, TILE) * min(height, TILE) if tiled else width * height
        return round(pixels * _WORKSPACE * min(1.0, self._vae_width))

    @property
    def embeddings(self) -> int:
        """Bytes of the device that cached embeddings take."""
        return 0 if self._kind == CPU else EMBEDDINGS

    def prompt(self, compute: str) -> int:
        """Return the bytes of the activations that are alive while one prompt is encoded."""
        return round(self.footprint.text_activations * BYTES[compute] * min(1.0, self._width))

    def text_blocks(self, precision: str, compute: str) -> int:
        """Return the bytes of a streamed text encoder that are on the device at a time."""
        known = self.footprint
        pair = weights(known.text_pair, precision, compute, 0.0)  # an embedding, which is not quantised, and a block
        return round(pair * min(1.0, self._width))

    def blocks(self, precision: str, storage: str, compute: str) -> int:
        """Return the bytes of a streamed denoiser that are on the device at a time."""
        known = self.footprint
        pair = weights(known.block_pair, precision, compute, known.linear_share[self._denoiser])
        if storage != compute and precision in BYTES:
            pair += known.largest_layer * BYTES[compute]  # which is cast when it is used
        return round(pair * min(1.0, self._width))

    def leaves(self, compute: str) -> int:
        """Return the bytes of the two largest layers: one is in use while the next is copied."""
        return round(2 * self.footprint.largest_layer * BYTES[compute] * min(1.0, self._width))
