"""Pictures with marks as Easel stores them, and the files that each surface sends of one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from aiogram.types import BufferedInputFile, FSInputFile
from PIL import Image

from adapters.discord.pictures import uploads
from adapters.telegram.surface import original, photo
from adapters.web.picture_links import encoded
from bot.core.file_marks import unsigned
from bot.core.pictures import PictureFile
from bot.core.requests import DrawRequest
from bot.provenance.facts import MarkingRules
from bot.provenance.marks import Marker
from bot.provenance.sealing import Sealing
from engine import contract
from engine.contract import NegativePromptSupport, Profile, Range, Recipe
from tests.fakes.source_images import png_of

SIDE = 48
SEED = 8_675_309_000_000_001
"""Above 2**53, which readers that take numbers for floats change."""

CHECKPOINT, LORAS = "31e35c80fc", (("ink", "0123456789ab"), ("oil.v2", "abcdef012345"))
"""Hash of the model's file, and the LoRAs that took part."""

PROMPTS = {
    "English": "a red apple, 'quoted' \"twice\", <b>bold</b> & C:\\new, 100 %",
    "two lines": "a red apple\nSteps: 3 to heaven\nNegative prompt: of nothing",
    "Latin": "ein Bär im Café, 100 °C",
    "Chinese": "一只猫在夜空中，戴着最红的帽子",
    "emoji": "🐈 a cat 👩‍🎨 🇨🇳",
    "long English": ("a red apple on a table, " * 200)[:4000],
    "long Chinese": ("一只猫在夜空中，戴着最红的帽子。" * 300)[:4000],
    "long emoji": "🐈" * 4000,
}
"""Prompts by their names, up to 4,000 characters."""

NEGATIVE = "blurry, text"

MODEL = Profile(
    name="small",
    title="Small 1",
    source="small",
    family="zimage",
    multiple=16,
    side=Range(SIDE, SIDE, 64),
    presets={"square": (SIDE, SIDE)},
    steps=Range(8, 1, 50),
    guidance=Range(2.0, 0.0, 9.0),
    negative=NegativePromptSupport.WITH_GUIDANCE,
    enlarge=2,
)
"""A model of small pictures, which chats show enlarged."""


def stored(
    folder: Path,
    prompt: str,
    negative: str = "",
    *,
    name: str = "7-0.png",
    private: bool = False,
    sealing: Sealing | None = None,
    rules: MarkingRules | None = None,
) -> PictureFile:
    """Store a picture with its marks; job 77123 of a request with this prompt."""
    recipe = Recipe("77123:0", MODEL.name, prompt, negative, SIDE, SIDE, 8, 2.0, SEED)
    request = DrawRequest(prompt, prompt, negative, SIDE, SIDE, 8, 2.0, SEED, 1, MODEL.name, private=private)
    pixels = Image.frombytes("RGB", (SIDE, SIDE), random.Random(1).randbytes(SIDE * SIDE * 3))
    drawn = contract.Image(
        recipe.id, png_of(pixels), width=SIDE, height=SIDE, seconds=1.0, checkpoint=CHECKPOINT, loras=LORAS
    )
    marker = Marker(lambda: (MODEL,), rules or MarkingRules(), sealing)
    data, _ = marker.mark(drawn, request, recipe, drawn_at=1_790_000_000.5)
    path = folder / name
    path.write_bytes(data)
    return PictureFile(path, name, "image/png", SIDE, SIDE, alt="" if private else prompt)


@dataclass(frozen=True)
class SentFile:
    """A file as a surface sends it.

    Attributes:
        surface: ``Discord``, ``Telegram`` or ``page``.
        format: ``PNG``, ``JPEG`` or ``WEBP``.
        data: The file.
    """

    surface: str
    format: str
    data: bytes

    @property
    def suffix(self) -> str:
        """The file's suffix."""
        return f".{self.format.lower()}"


async def sent(file: PictureFile, sealing: Sealing | None = None) -> list[SentFile]:
    """Return all files that the surfaces send of a stored picture: as it is, enlarged, and made smaller for a limit."""
    sign = unsigned if sealing is None else sealing.sign_copy
    (plain,) = await uploads([file], (), sign=sign)
    (enlarged,) = await uploads([file], (MODEL,), sign=sign)
    (small,) = await uploads([file], (), max_file=len(plain.data) - 1, sign=sign)
    document, shown = await original(file), await photo(file, (MODEL,), sign)
    assert isinstance(document, FSInputFile)
    assert isinstance(shown, BufferedInputFile)
    return [
        SentFile("Discord", "PNG", plain.data),
        SentFile("Discord", "PNG", enlarged.data),
        SentFile("Discord", "WEBP", small.data),
        SentFile("Telegram", "PNG", encoded(Path(document.path), "png", None, sign)),
        SentFile("Telegram", "JPEG", shown.data),
        SentFile("page", "PNG", encoded(file.path, "png", None, sign)),
        SentFile("page", "JPEG", encoded(file.path, "jpeg", None, sign)),
        SentFile("page", "WEBP", encoded(file.path, "webp", None, sign)),
    ]
