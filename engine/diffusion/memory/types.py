"""The types of memory planning: a device with its memory and abilities, and the plan. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.contract import ModelPlacement

GIB = 2**30

CUDA, MPS, CPU = "cuda", "mps", "cpu"

TORCHAO, GGUF, BITSANDBYTES, NUNCHAKU = "torchao", "gguf", "bitsandbytes", "nunchaku"
"""Names of the quantisation libraries."""

SVDQUANT = "svdquant"
"""Precision of a denoiser whose file is in SVDQuant."""

PACKED = ("gguf", SVDQUANT)
"""Precisions of a denoiser whose file is quantised and stays as it is."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device with its memory and abilities.

    Attributes:
        kind: ``cuda``, ``mps`` or ``cpu``.
        name: Its name for people, such as ``NVIDIA GeForce RTX 4070``.
        total: Bytes of its memory.
        free: Bytes of its memory that are free.
        host_free: Bytes of main memory and swap that are free.
        pinnable: Bytes of main memory that are free; swap can't be page-locked.
        bf16: Whether it computes in bfloat16 natively; emulation does not count.
        fp8: Whether it can store float8_e4m3fn and cast it.
        stream: Whether it can copy weights while it computes.
        four_bits: The form of SVDQuant that it computes in: ``int4`` or ``fp4``; empty: none.
        products: The formats of eight bits, ``int8`` and ``fp8``, in which it multiplies faster than in wider ones.
    """

    kind: str
    name: str
    total: int
    free: int
    host_free: int
    pinnable: int
    bf16: bool
    fp8: bool
    stream: bool
    products: frozenset[str] = frozenset()
    four_bits: str = ""


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """How a model's files hold its weights, which decides what main memory loading them takes.

    Weights that are loaded in the format of their file are mapped from it, and the system can reclaim that memory.

    Attributes:
        formats: Format of most of the weights of each part: ``fp32``, ``bf16``, ``fp16``, or another word for weights
            that are dequantised. Nothing is counted for a part that is not named.
        mapped: Parts all of whose weights are in one format: they are loaded in it, and converted when they are placed,
            one by one. Others are converted as a whole first.
    """

    formats: Mapping[str, str] = field(default_factory=dict)
    mapped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Placement:
    """Formats of a model's weights, and which of them are kept in main memory.

    Attributes:
        precision: Format of the denoiser's weights: ``bf16``, ``fp16``, ``fp8``, ``int8``, ``nf4``, ``gguf``,
            ``svdquant`` or ``fp32``.
        storage: Format in which weights are stored that no library quantises: ``bf16``, ``fp16``, ``fp8`` or ``fp32``.
        compute: Format in which the denoiser computes.
        text_compute: Format in which the text encoders compute.
        vae: Format of the VAE.
        text_encoder: ``device`` or ``host``: as it is, on the device or in main memory; ``int8``: quantised, where
            ``offload`` says.
        offload: What is kept in main memory: ``none``, ``text`` (the text encoders; blocks of layers are copied to the
            device for each new prompt), ``group`` (everything but the VAE; blocks are copied ahead of their use), ``model`` (all parts but the one that is in use) or ``sequential``
            (all layers but the one that is in use).
        w8a8: Whether the denoiser's large linear layers quantise their inputs to ``precision`` too, and multiply in it.
    """

    precision: str
    storage: str
    compute: str
    text_compute: str
    vae: str
    text_encoder: str
    offload: str
    w8a8: bool

    @property
    def loaded(self) -> str:
        """Format in which weights are loaded that no library quantises."""
        # Files are rarely in fp8: weights that are kept in fp8 are loaded in the compute format and cast.
        return self.compute if self.storage == "fp8" else self.storage


@dataclass(frozen=True, slots=True)
class Plan(Placement):
    """How one model draws on one device.

    Attributes:
        on: ``cuda``, ``mps`` or ``cpu``; the CPU where the device is too small.
        tile_vae: Whether the VAE works on tiles of at most 512x512 pixels.
        batch: Number of pictures of the size that fit together; at least 1.
        device_bytes: Peak bytes on the device with one picture.
        host_bytes: Bytes kept in main memory.
        pinned_bytes: Bytes of these that are page-locked.
        weight_bytes: Bytes of the device that its weights hold between two pictures.
        budget: Bytes of the device that the plan may use.
        reasons: The reasons for the plan, in short English sentences.
    """

    on: str
    tile_vae: bool
    batch: int
    device_bytes: int
    host_bytes: int
    pinned_bytes: int
    weight_bytes: int
    budget: int
    reasons: tuple[str, ...] = ()

    @property
    def casts(self) -> bool:
        """Whether the denoiser's weights are stored in one format and cast to another, layer by layer, when they are used."""
        return self.storage != self.compute

    @property
    def quantises(self) -> bool:
        """Whether a library quantises weights while they are loaded."""
        return "int8" in (self.precision, self.text_encoder) or self.precision == "nf4"

    def as_good_as(self, alone: Plan, worth: int) -> bool:
        """Whether the model is placed as in the plan where it has the device alone, and draws half as many at least.

        Args:
            alone: That plan.
            worth: The most pictures that share a step.
        """
        one, other = (replace(p, batch=0, device_bytes=0, budget=0, reasons=()) for p in (self, alone))
        return one == other and 2 * min(self.batch, worth) >= min(alone.batch, worth)

    @property
    def sentence(self) -> str:
        """The plan in one English sentence."""
        weights = self.precision if self.precision == self.compute else f"{self.precision}, computed in {self.compute}"
        if self.w8a8:
            weights = (
                f"{self.precision}, as are the inputs of linear layers (W8A8), the rest computed in {self.compute}"
            )
        where = {
            "none": "",
            "text": "; the text encoder waits in main memory",
            "group": "; weights wait in main memory and are copied while the device computes",
            "model": "; one part of the model at a time is on the device",
            "sequential": "; weights come from main memory layer by layer",
        }[self.offload]
        text = "; the text encoder in int8" if self.text_encoder == "int8" and self.precision != "int8" else ""
        tiles = "; the VAE works in tiles" if self.tile_vae else ""
        memory = "main memory" if self.on == CPU else "the device"
        use = f"; {gib(self.device_bytes)} of {gib(self.budget)} of {memory}"
        return f"Weights in {weights}{where}{text}{tiles}{use}; pictures together: {self.batch}."


@dataclass(slots=True)
class ModelMemory:
    """The memory of a loaded model.

    Attributes:
        plan: Its plan; the budget is that which it has when no other model is on the device.
        packed: Bytes of the GGUF or SVDQuant file that holds its denoiser; 0 where there is none.
        weights: Bytes of the device that its weights hold.
        controls: Bytes of the device that its ControlNets hold.
    """

    plan: Plan
    packed: int = 0
    weights: int = 0
    controls: int = 0

    def placement(self, model: str) -> ModelPlacement:
        """Return what the plan decided for the model of this name."""
        made = self.plan
        return ModelPlacement(
            model,
            made.on,
            made.precision,
            self.weights + self.controls,
            made.host_bytes,
            made.device_bytes,
            made.budget,
            made.batch,
            made.sentence,
            made.reasons,
        )

    def held(self, on: str) -> int:
        """Bytes of the memory of ``on`` (``cuda``, ``mps`` or ``cpu``) that it holds between two pictures."""
        return self.weights + self.controls if self.plan.on == on else 0


def gib(count: int) -> str:
    """Return bytes for people, such as ``7.9 GiB`` or ``35 MiB``."""
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{count / 2**20:.0f} MiB"
