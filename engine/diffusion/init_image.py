"""Reads the pictures of a recipe: initial image, mask, references. An unreadable file gives BadImage with one sentence."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from engine.contract import MADE_CONTROL, BadImage, Recipe
from engine.diffusion.controlnets import canny, is_edge_map
from engine.families.denoise_state import InitImage, WholePicture

MAX_PIXELS = 50_000_000
"""Largest number of pixels, checked in the header: a decoded picture of this size takes 150 MB."""

MASK_LEAST = 16
"""Of 255: a mask without any lighter pixel would change nothing visible."""

PLAIN_MOST = 8
"""Of 255: a picture whose colours differ by no more counts as one colour, as JPEG or scaling leave it."""

ZOOM_BELOW = 1 / 4
"""Share of the picture's area below which the mask's bounding box is zoomed into."""

LEAST_ZOOM = 1.25
"""Least factor of enlargement; a smaller one would hardly add detail."""

_BESIDE, _LEAST_BESIDE = 1 / 4, 1 / 16
"""What is kept on each side of the box, so that the model sees what surrounds it: a share of the box's longer side, and
at least a share of the picture's shorter one. The latter is A1111's 32 pixels of 512."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


class ImageUpscaler(Protocol):
    """An upscaler (``engine.diffusion.upscaler``)."""

    @property
    def digest(self) -> str:
        """Digest of the model, after its first use."""

    def upscale(self, picture: Pillow.Image) -> Generator[None, None, Pillow.Image]:
        """Yield between tiles; return the RGB picture enlarged by an integer factor. Raises EngineError."""


class InitImageReader:
    """Reads the pictures of a recipe in slices of time: upscaling may take minutes, and others are drawn meanwhile.

    Args:
        recipe: The recipe.
        upscaler: As for ``read``.
        reference_pixels: As ``most`` of ``read_references``.

    Attributes:
        image: The initial image when reading is complete; None before, or for recipes that start from noise.
        references: The reference pictures when reading is complete.
        control: The control picture when reading is complete, (height, width, 3); None before, or for recipes without.
    """

    def __init__(
        self, recipe: Recipe, upscaler: ImageUpscaler | None = None, reference_pixels: int = MAX_PIXELS
    ) -> None:
        self._steps = self._read(recipe, upscaler, reference_pixels)
        self.image: InitImage | None = None
        self.references: tuple[NDArray[np.uint8], ...] = ()
        self.control: NDArray[np.uint8] | None = None

    def read_for(self, seconds: float) -> bool:
        """Continue for about ``seconds``; return whether it is complete. Raises what ``read`` raises."""
        until = time.monotonic() + seconds
        return all(time.monotonic() < until for _ in self._steps)

    def _read(self, recipe: Recipe, upscaler: ImageUpscaler | None, most: int) -> Generator[None]:
        if recipe.control:
            self.control = read_control(recipe)
        else:
            self.image = yield from read(recipe, upscaler)
        self.references = yield from read_references(recipe, most)


def read(recipe: Recipe, upscaler: ImageUpscaler | None = None) -> Generator[None, None, InitImage | None]:
    """Read a recipe's initial image, scaled and cropped to its size; return None for a recipe that starts from noise.

    Of a picture whose mask is small, the part around the mask is enlarged to that size (``engine.diffusion.init_image``).
    Yields while the upscaler works.

    Args:
        recipe: The recipe.
        upscaler: Enlarges an image that is smaller than the recipe in both dimensions, before it is resampled.

    Raises:
        BadImage: A file is missing, is no picture, is truncated or has too many pixels; or the mask is black where
            the picture is drawn.
        EngineError: The upscaler can't be used.
    """
    if not recipe.image:
        return None
    size = (recipe.width, recipe.height)
    picture = _open(recipe.image, "picture to start from")
    by = ""
    if upscaler is not None and picture.width < recipe.width and picture.height < recipe.height:
        picture = yield from upscaler.upscale(picture)
        by = upscaler.digest
    pixels = np.array(_fitted(picture, size), np.uint8)  # torch needs a writable array
    if not recipe.mask:
        return InitImage(pixels, upscaler=by)
    mask = _open(recipe.mask, "mask to start from")
    grey = _grey(_fitted(mask, size))
    white = grey >= MASK_LEAST / 255
    if not white.any():
        raise BadImage("Nothing of the mask is white where the picture is drawn; paint the part to draw anew white.")
    # An edit looks at its whole references.
    box = None if recipe.references else zoom_box(white)
    if box is None:
        return InitImage(pixels, grey, by)
    # From the files, which may be larger than the picture that is drawn.
    part = np.array(_part(picture, size, box), np.uint8)
    return InitImage(part, _grey(_part(mask, size, box)), by, WholePicture(box, pixels, grey))


def read_control(recipe: Recipe) -> NDArray[np.uint8]:
    """Return a recipe's control picture, (height, width, 3), scaled and cropped to its size.

    That of ``canny`` is made here, from any picture; those of other kinds are given as they are.

    Raises:
        BadImage: The file is missing, is no picture, is truncated or has too many pixels.
    """
    pixels = np.array(_fitted(_open(recipe.image, "control picture"), (recipe.width, recipe.height)), np.uint8)
    if recipe.control != MADE_CONTROL or is_edge_map(pixels):
        return pixels
    return np.repeat(canny(pixels)[..., None], 3, axis=2)


def read_references(recipe: Recipe, most: int = MAX_PIXELS) -> Generator[None, None, tuple[NDArray[np.uint8], ...]]:
    """Read a recipe's reference pictures, each (height, width, 3), 0 to 255, in its own ratio. Yields after each.

    Args:
        recipe: The recipe.
        most: Pixels of a picture; larger ones are scaled down to about that many.

    Raises:
        BadImage: A file is missing, is no picture, is truncated or has too many pixels; names which one.
    """
    pictures = []
    for number, path in enumerate(recipe.references, 1):
        picture = _open(path, f"reference picture {number}")
        scale = math.sqrt(most / (picture.width * picture.height))
        if scale < 1:
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(size, Pillow.Resampling.LANCZOS)
        pictures.append(np.array(picture, np.uint8))
        yield
    return tuple(pictures)


def read_picture(path: str) -> Pillow.Image:
    """Return a picture in RGB, on white where it is transparent. Raises BadImage."""
    return _open(path, "picture")


def is_plain(image: InitImage | None) -> bool:
    """Whether the initial image is of one colour, so that a result of one colour is no sign of overflow."""
    if image is None:
        return False
    colours = image.pixels.reshape(-1, 3)
    return int(np.ptp(colours, axis=0).max()) <= PLAIN_MOST


def _open(path: str, what: str) -> Pillow.Image:
    try:
        with Pillow.open(Path(path)) as found:
            if found.width * found.height > MAX_PIXELS:
                raise Pillow.DecompressionBombError
            upright = ImageOps.exif_transpose(found)
            return _on_white(upright)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as e:  # Pillow has its own limits
        raise BadImage(f"The {what} has more than {MAX_PIXELS // 10**6} million pixels; give a smaller one.") from e
    except FileNotFoundError as e:
        raise BadImage(f"The {what} is not there any more; give it again.") from e
    except Exception as e:  # Pillow's readers raise many kinds of exceptions
        raise BadImage(f"The {what} can't be read as a picture; give a PNG, JPEG or WebP.") from e


def _fitted(picture: Pillow.Image, size: tuple[int, int]) -> Pillow.Image:
    return ImageOps.fit(picture, size, Pillow.Resampling.LANCZOS)


def _part(picture: Pillow.Image, size: tuple[int, int], box: Box) -> Pillow.Image:
    """Return a part of a picture enlarged to a size; ``box`` counts in pixels of the picture that is fitted to the size."""
    scale = min(picture.width / size[0], picture.height / size[1])
    x, y = (picture.width - size[0] * scale) / 2, (picture.height - size[1] * scale) / 2
    left, top, right, bottom = (edge * scale for edge in box)
    # Rounding must not lead out of the picture.
    where = (x + left, y + top, min(x + right, picture.width), min(y + bottom, picture.height))
    return picture.resize(size, Pillow.Resampling.LANCZOS, where)


def _grey(mask: Pillow.Image) -> NDArray[np.float32]:
    """Return a mask's pixels from 0 to 1, (height, width)."""
    return (np.asarray(mask.convert("L")) / 255).astype(np.float32)


def _on_white(picture: Pillow.Image) -> Pillow.Image:
    """Return the picture in RGB, with transparent parts on white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    ground = Pillow.new("RGBA", rgba.size, "white")
    return Pillow.alpha_composite(ground, rgba).convert("RGB")


def zoom_box(white: NDArray[np.bool_]) -> Box | None:
    """Return the part of a picture to draw instead of the whole one; None where the mask is not small.

    It has the picture's ratio to within a pixel, lies within the picture, and holds all that is white. A1111's "only
    masked" does the same.

    Args:
        white: (height, width), True where the picture is drawn again; at least one pixel is.
    """
    height, width = white.shape
    ys, xs = np.nonzero(white)
    left, right = int(xs.min()), int(xs.max()) + 1
    top, bottom = int(ys.min()), int(ys.max()) + 1
    across, down = right - left, bottom - top
    if across * down >= ZOOM_BELOW * width * height:
        return None
    beside = max(_BESIDE * max(across, down), _LEAST_BESIDE * min(width, height))
    share = max((across + 2 * beside) / width, (down + 2 * beside) / height)
    if share * LEAST_ZOOM > 1:
        return None
    x, y = _placed(left, right, round(share * width), width), _placed(top, bottom, round(share * height), height)
    return x[0], y[0], x[1], y[1]


def _placed(begin: int, end: int, length: int, most: int) -> tuple[int, int]:
    """Return a stretch of this length around another one, moved to lie between 0 and ``most``."""
    at = min(max((begin + end - length) // 2, 0), most - length)
    return at, at + length
