"""What the memory plan speaks of: a device with its memory and abilities, and the plan itself. No torch."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30

CUDA, MPS, CPU = "cuda", "mps", "cpu"

TORCHAO, GGUF, BITSANDBYTES = "torchao", "gguf", "bitsandbytes"
"""Libraries that a plan can make use of."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as a plan sees it.

    Attributes:
        kind: ``cuda``, ``mps`` or ``cpu``.
        name: For people, such as ``NVIDIA GeForce RTX 4070``.
        total: Bytes of its memory.
        free: Bytes of it that nobody uses.
        host_free: Bytes of main memory and swap that nobody uses.
        bf16: It computes in bfloat16 by itself; emulation does not count.
        fp8: It can keep numbers as float8_e4m3fn and turn them into others.
        stream: It can copy weights while it computes.
    """

    kind: str
    name: str
    total: int
    free: int
    host_free: int
    bf16: bool
    fp8: bool
    stream: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How one model draws on one device.

    Attributes:
        on: ``cuda``, ``mps`` or ``cpu``; the CPU where the device that was looked at is too small.
        precision: What the denoiser's weights are: ``bf16``, ``fp16``, ``fp8``, ``int8``, ``nf4``, ``gguf`` or ``fp32``.
        storage: Number format in which weights wait that no library quantises: ``bf16``, ``fp16``, ``fp8`` or ``fp32``.
        compute: Number format that the denoiser and the text encoders compute in.
        vae: Number format of the VAE.
        text_encoder: ``device``; ``host``: in main memory, brought to the device layer by layer for each new prompt;
            ``int8``: on the device, quantised.
        offload: What waits in main memory: ``none``, ``text`` (the text encoders), ``group`` (everything but the VAE,
            layer by layer, copied while the device computes), ``model`` (one part at a time is on the device) or
            ``sequential`` (layer by layer).
        tile_vae: The VAE decodes and encodes in tiles of at most 512 pixels.
        batch: How many pictures of the size fit together; at least 1.
        device_bytes: What the device holds at most with one picture.
        host_bytes: What waits in main memory.
        budget: Bytes of the device that the plan may use.
        reasons: Why, in short English sentences.
    """

    on: str
    precision: str
    storage: str
    compute: str
    vae: str
    text_encoder: str
    offload: str
    tile_vae: bool
    batch: int
    device_bytes: int
    host_bytes: int
    budget: int
    reasons: tuple[str, ...] = ()

    @property
    def casts(self) -> bool:
        """Whether weights wait in one format and are turned into another, layer by layer, to be computed with."""
        return self.storage != self.compute

    @property
    def quantises(self) -> bool:
        """Whether weights are made smaller by a library while they are loaded."""
        return "int8" in (self.precision, self.text_encoder) or self.precision == "nf4"

    @property
    def sentence(self) -> str:
        """The plan in one English sentence."""
        weights = self.precision if self.precision == self.compute else f"{self.precision}, computed in {self.compute}"
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


def gib(count: int) -> str:
    """Return bytes for people, such as ``7.9 GiB`` or ``35 MiB``."""
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{count / 2**20:.0f} MiB"
