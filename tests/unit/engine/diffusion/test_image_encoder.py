from __future__ import annotations

import numpy as np

from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.png import png

PIXELS = np.random.default_rng(3).integers(0, 256, (16, 24, 3), np.uint8)


def test_what_cannot_be_encoded_is_told() -> None:
    encoder, told = ImageEncoder(), list[bytes | Exception]()
    encoder.submit(np.zeros((2, 2, 7), np.uint8), told.append)
    encoder.submit(PIXELS, told.append)
    encoder.close()
    assert isinstance(told[0], Exception)
    assert told[1] == png(PIXELS)
