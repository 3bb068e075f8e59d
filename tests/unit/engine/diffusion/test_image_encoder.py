from __future__ import annotations

import io

import numpy as np
from PIL import Image as Pillow

from engine.diffusion.image_encoder import ImageEncoder, png

PIXELS = np.random.default_rng(3).integers(0, 256, (16, 24, 3), np.uint8)


def test_a_png_loses_nothing_and_says_nothing_else() -> None:
    opened = Pillow.open(io.BytesIO(png(PIXELS)))
    assert (opened.format, opened.mode, opened.size, opened.info) == ("PNG", "RGB", (24, 16), {})
    assert np.array_equal(np.asarray(opened), PIXELS)
    assert png(PIXELS) == png(PIXELS.copy())


def test_what_cannot_be_encoded_is_told() -> None:
    encoder, told = ImageEncoder(), list[bytes | Exception]()
    encoder.submit(np.zeros((2, 2, 7), np.uint8), told.append)
    encoder.submit(PIXELS, told.append)
    encoder.close()
    assert isinstance(told[0], Exception)
    assert told[1] == png(PIXELS)
