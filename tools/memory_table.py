"""Print the tables of docs/models.md, section "Which card", from the memory plan: python tools/memory_table.py."""

from __future__ import annotations

from collections.abc import Iterator

from engine.contract import OutOfMemory, Profile
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.types import GGUF, GIB, TORCHAO, Device
from engine.families.generic.models import MODELS
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import z_image, z_image_turbo

CARDS = (6, 8, 12, 16, 24)
TAKEN = 3 * GIB // 4
"""What driver and desktop hold of a card."""

HOST = 24 * GIB
"""What a machine with 32 GB has free."""

LARGE_HOST = 56 * GIB
"""What a machine with 64 GB has free."""

Q4_0 = 18 / 32
"""Bytes of a weight in that GGUF format: a half and 16 bytes for each block of 32."""

AWAY = {
    "none": "",
    "text": ", text out",
    "group": ", streamed",
    "model": ", in turns",
    "sequential": ", layer by layer",
}


def main() -> None:
    """Print the tables."""
    print("\n".join(tables()))


def tables() -> Iterator[str]:
    """Give the lines."""
    yield from _table("Cards with bf16 (RTX 30 and later)", _new())
    yield ""
    yield from _table("Cards without (RTX 20, GTX 16 and older)", _old())
    yield ""
    yield from _table("Other pipelines, cards with bf16", _others())


def _new() -> Iterator[tuple[str, list[str]]]:
    turbo = z_image_turbo()
    for profile in (turbo, z_image(), sdxl(), sd15()):
        sides = (profile.side.default, profile.side.default * 3 // 2)
        for side in sides:
            yield f"{profile.title}, {side}x{side}", [_cell(profile, side, gib, bf16=True) for gib in CARDS]
    size = round(turbo.parameters["transformer"] * Q4_0)
    name = f"{turbo.title} as GGUF Q4_0, 1024x1024"
    yield name, [_cell(turbo, 1024, gib, bf16=True, gguf=size) for gib in CARDS]


def _old() -> Iterator[tuple[str, list[str]]]:
    for profile in (z_image_turbo(), sdxl(), sd15()):
        side = profile.side.default
        yield f"{profile.title}, {side}x{side}", [_cell(profile, side, gib, bf16=False) for gib in CARDS]


def _others() -> Iterator[tuple[str, list[str]]]:
    for model in MODELS:
        profile = model.profile
        side = profile.side.default
        cells = [_cell(profile, side, gib, bf16=True, host=LARGE_HOST) for gib in CARDS]
        yield f"{profile.title}, {side}x{side}", cells


def _table(title: str, rows: Iterator[tuple[str, list[str]]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(f"{gib} GB" for gib in CARDS) + " |"
    yield "| --- |" + " --- |" * len(CARDS)
    for name, cells in rows:
        yield f"| {name} | " + " | ".join(cells) + " |"


def _cell(profile: Profile, side: int, gib: int, *, bf16: bool, gguf: int = 0, host: int = HOST) -> str:
    free = gib * GIB - TAKEN
    device = Device("cuda", "a card", gib * GIB, free, host, bf16=bf16, fp8=True, stream=True)
    try:
        found = plan(profile, side, side, device, "auto", frozenset({TORCHAO, GGUF}), gguf=gguf)
    except OutOfMemory:
        return "does not fit"
    if found.on == "cpu":
        return "on the CPU"
    tiles = ", tiles" if found.tile_vae else ""
    text = ", text int8" if found.text_encoder == "int8" and found.precision != "int8" else ""
    return f"{found.precision}{AWAY[found.offload]}{text}{tiles}: {found.device_bytes / GIB:.1f}, x{found.batch}"


if __name__ == "__main__":
    main()
