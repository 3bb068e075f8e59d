"""Write the tables of docs/models.md, section "Which card", from the memory plan.

python tools/memory_table.py          rewrites the part between the two markers
python tools/memory_table.py --check  exits with 1 when the part is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import page_part

from engine.contract import OutOfMemory, Profile
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.types import GGUF, GIB, TORCHAO, Device, StoredWeights
from engine.families.generic.models import MODELS
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import z_image, z_image_turbo

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- plans: python tools/memory_table.py -->\n", "<!-- end of plans -->\n"

CARDS = (6, 8, 12, 16, 24, 80)
MACHINES = (16, 24, 64)
"""GB of main memory."""

LARGE = 64
"""GB of main memory of the machine in the tables that have one."""

TAKEN = 3 * GIB // 4
"""What driver and desktop hold of a card."""

TAKEN_OF_HOST = 4 * GIB
"""What the system, Easel and PyTorch hold of main memory."""

Q4_0 = 18 / 32
"""Bytes of a weight in that GGUF format: a half and 16 bytes for each block of 32."""

AWAY = {
    "none": "",
    "text": ", text out",
    "group": ", streamed",
    "model": ", in turns",
    "sequential": ", layer by layer",
}


def _mapped(formats: Mapping[str, str]) -> StoredWeights:
    return StoredWeights(formats, frozenset(formats))


STORED: Mapping[str, StoredWeights] = {
    "z-image-turbo": _mapped({"transformer": "fp32", "text_encoder": "bf16", "vae": "bf16"}),
    "sdxl": _mapped({"unet": "fp32", "text_encoder": "fp32", "text_encoder_2": "fp32", "vae": "fp32"}),
    "sd15": _mapped({"unet": "fp32", "text_encoder": "fp32", "vae": "fp32"}),
}
"""Models whose files are not in bf16, and are converted weight by weight."""


def tables() -> Iterator[str]:
    """Yield the lines of all tables."""
    yield from _table("Cards with bf16 (RTX 30 and later)", _main())
    yield ""
    yield from _table(f"Larger pictures, and GGUF; {LARGE} GB", _larger())
    yield ""
    yield from _table(f"Cards without bf16 (RTX 20, GTX 16 and older); {LARGE} GB", _old())
    yield ""
    yield from _table(f"Other pipelines, cards with bf16; {LARGE} GB", _others())


def _main() -> Iterator[tuple[str, list[str]]]:
    klein = next(model.profile for model in MODELS if model.profile.name == "flux2-klein")
    for profile in (z_image_turbo(), sdxl(), sd15(), klein):
        side = profile.side.default
        for ram in MACHINES:
            yield f"{profile.title}, {side}x{side}; {ram} GB", [_cell(profile, side, gib, ram) for gib in CARDS]


def _larger() -> Iterator[tuple[str, list[str]]]:
    turbo = z_image_turbo()
    yield "Z-Image, 1024x1024", [_cell(z_image(), 1024, gib, LARGE) for gib in CARDS]
    for profile in (turbo, z_image(), sdxl(), sd15()):
        side = profile.side.default * 3 // 2
        yield f"{profile.title}, {side}x{side}", [_cell(profile, side, gib, LARGE) for gib in CARDS]
    size = round(turbo.parameters["transformer"] * Q4_0)
    name = f"{turbo.title} as GGUF Q4_0, 1024x1024"
    yield name, [_cell(turbo, 1024, gib, LARGE, gguf=size) for gib in CARDS]


def _old() -> Iterator[tuple[str, list[str]]]:
    for profile in (z_image_turbo(), sdxl(), sd15()):
        side = profile.side.default
        yield f"{profile.title}, {side}x{side}", [_cell(profile, side, gib, LARGE, bf16=False) for gib in CARDS]


def _others() -> Iterator[tuple[str, list[str]]]:
    for model in MODELS:
        profile = model.profile
        side = profile.side.default
        yield f"{profile.title}, {side}x{side}", [_cell(profile, side, gib, LARGE) for gib in CARDS]


def _table(title: str, rows: Iterator[tuple[str, list[str]]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(f"{gib} GB" for gib in CARDS) + " |"
    yield "| --- |" + " --- |" * len(CARDS)
    for name, cells in rows:
        yield f"| {name} | " + " | ".join(cells) + " |"


def _cell(profile: Profile, side: int, gib: int, ram: int, *, bf16: bool = True, gguf: int = 0) -> str:
    free, host = gib * GIB - TAKEN, ram * GIB - TAKEN_OF_HOST
    products = frozenset({"int8"})
    device = Device("cuda", "a card", gib * GIB, free, host, host, bf16=bf16, fp8=True, stream=True, products=products)
    libraries = frozenset({TORCHAO, GGUF})
    try:
        found = plan(profile, side, side, device, "auto", libraries, packed=gguf, stored=STORED.get(profile.name))
    except OutOfMemory:
        return "does not fit"
    if found.on == "cpu":
        return "on the CPU"
    tiles = ", tiles" if found.tile_vae else ""
    text = ", text int8" if found.text_encoder == "int8" and found.precision != "int8" else ""
    host_gib = f" + {found.host_bytes / GIB:.1f}" if found.host_bytes else ""
    card_gib = f"{found.device_bytes / GIB:.1f}"
    return f"{found.precision}{AWAY[found.offload]}{text}{tiles}: {card_gib}{host_gib}, x{found.batch}"


if __name__ == "__main__":
    sys.exit(page_part.main(__doc__, PAGE, BEGIN, END, lambda: "\n" + "\n".join(tables()) + "\n\n"))
