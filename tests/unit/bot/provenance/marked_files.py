"""Files with marks, as the tests of provenance need them."""

from __future__ import annotations

import importlib.util
import io
import uuid
from datetime import UTC, datetime
from functools import cache

from PIL import Image

from bot.core.file_marks import copied_marks
from bot.core.inspection import TRAINED
from bot.provenance.a1111 import parameters
from bot.provenance.facts import Facts
from bot.provenance.marks import mark_png
from bot.provenance.seal import Seal
from bot.provenance.sealing import Sealing
from bot.provenance.signing_keys import SigningKeys, new_signing_keys
from engine.contract import Recipe
from tests.fakes.source_images import png_of

PARAMETERS = "a cat 猫 🐈\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 7, Size: 48x32, Version: Easel 0.1.0"

MIMES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Media types by Pillow's names of formats."""


def facts(
    prompt: str = "a cat 猫 🐈", *, parameters: str = PARAMETERS, producer: str = "", source: str = TRAINED
) -> Facts:
    """What a file says; a prompt that is empty is not told."""
    return Facts(
        source, "Z-Image-Turbo", "0123456789", datetime(2026, 11, 23, 21, tzinfo=UTC),
        uuid.UUID("12345678-1234-5678-1234-567812345678"), parameters=parameters, prompt=prompt, aigc_producer=producer,
    )  # fmt: skip


@cache
def signing_keys() -> SigningKeys:
    """Keys of this organisation, the same ones for all tests of a process: ``Club Ink``."""
    return new_signing_keys("Club Ink")


def signs() -> Sealing | None:
    """What signs with these keys; None where the extra c2pa is not installed."""
    keys = signing_keys()
    return Sealing(Seal(keys.chain, keys.key)) if importlib.util.find_spec("c2pa") else None


@cache
def plain(width: int = 48, height: int = 32) -> bytes:
    """A PNG without marks."""
    return png_of(Image.radial_gradient("L").resize((width, height)).convert("RGB"))


def marked(told: Facts) -> bytes:
    """A PNG with marks."""
    return mark_png(plain(), told)


def copy_of(data: bytes, kind: str) -> bytes:
    """The copy that a surface makes of a stored PNG."""
    with Image.open(io.BytesIO(data)) as opened:
        out = io.BytesIO()
        opened.convert("RGB").save(out, kind, **copied_marks(opened.info))
    return out.getvalue()


def in_each_format(prompt: str, negative: str, seed: int) -> tuple[str, dict[str, bytes]]:
    """A1111's text of a request with 8 steps, and small files in each format that hold it."""
    text = parameters(Recipe("1:0", "m", prompt, negative, 8, 8, 8, 2.0, seed), "m")
    told = facts(f"{prompt}\nNegative: {negative}" if negative else prompt, parameters=text, producer="P1")
    png = mark_png(plain(8, 8), told)
    return text, {"PNG": png, "JPEG": copy_of(png, "JPEG"), "WEBP": copy_of(png, "WEBP")}
