"""Files with marks, as the tests of provenance need them."""

from __future__ import annotations

import io
import uuid
from datetime import UTC, datetime

from PIL import Image

from bot.core.file_marks import copied_marks
from bot.core.inspection import TRAINED
from bot.provenance.facts import Facts
from bot.provenance.marks import mark_png

PARAMETERS = "a cat 猫 🐈\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 7, Size: 48x32, Version: Easel 0.1.0"


def facts(
    prompt: str = "a cat 猫 🐈", *, parameters: str = PARAMETERS, producer: str = "", source: str = TRAINED
) -> Facts:
    """What a file says; a prompt that is empty is not told."""
    return Facts(
        source, "Z-Image-Turbo", "0123456789", datetime(2026, 11, 23, 21, tzinfo=UTC),
        uuid.UUID("12345678-1234-5678-1234-567812345678"), parameters=parameters, prompt=prompt, aigc_producer=producer,
    )  # fmt: skip


def marked(told: Facts) -> bytes:
    """A PNG with marks."""
    out = io.BytesIO()
    Image.radial_gradient("L").resize((48, 32)).convert("RGB").save(out, "PNG")
    return mark_png(out.getvalue(), told)


def copy_of(data: bytes, kind: str) -> bytes:
    """The copy that a surface makes of a stored PNG."""
    with Image.open(io.BytesIO(data)) as opened:
        out = io.BytesIO()
        opened.convert("RGB").save(out, kind, **copied_marks(opened.info))
    return out.getvalue()
