"""Pictures of requests: source images, masks and references are decoded, normalized and staged as files before the job."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageChops, ImageCms, ImageFile, UnidentifiedImageError

from bot.context import AppContext
from bot.core.errors import BadInput
from bot.core.image_parts import has_too_many_parts
from bot.core.requests import DrawForm, ReferenceImage, SourceImage
from bot.drawing import image_containers
from bot.drawing.model_rules import check_count
from bot.provenance.kept_marks import keep_marks
from bot.storage import inputs
from bot.storage.inputs import Staged

MAX_PIXELS = 50_000_000
"""Most pixels of a file, checked in its header: decoded, they take up to 200 MB."""

MAX_SIDE = 4096
"""Longest side of a stored image, in pixels; larger ones are scaled down. It is twice the longest side of any model."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Formats that are decoded. Pillow's other readers start programs (EPS) or read formats that nobody sends."""

MASK_THRESHOLD = 16
"""Darkest grey of a mask, of 255, that counts as white. In darker areas no change would be visible."""

UNSUPPORTED_FORMATS = (
    ("HEIC", re.compile(rb"....ftyp(?:heic|heix|hevc|hevx|heim|heis|(?:mif1|msf1)....(?:....)*?hei[cxms])", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("PDF", re.compile(rb"%PDF-")),
    ("SVG", re.compile(rb"(?=.*<svg\b)(?:\xef\xbb\xbf)?\s*<[?!s]", re.DOTALL)),
    ("Photoshop", re.compile(rb"8BPS")),
)
"""Formats that people send but Easel can't decode, by the first bytes of the file."""

_BEGINNING = 1024
"""Number of bytes by which a format is recognized."""

_ROWS_MISSING, _SHARE_MISSING = 16, 0.05
"""Most missing rows of a truncated JPEG that is still accepted: one block plus a share of its height."""

_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each Exif orientation."""

_ORIENTATION = 0x0112

_SIDEWAYS = 5
"""From this orientation on, width and height are swapped."""

_NO_SHADES = frozenset({"1", "P", "PA"})
_PLAIN = frozenset({"1", "L", "P", "RGB", "CMYK"})


@dataclass(frozen=True, slots=True)
class NormalizedImage:
    """An image as it is stored: an upright PNG without transparency, in RGB (a mask: in grey).

    Attributes:
        data: The PNG file.
        width: Pixels.
        height: Pixels.
        white: Box (left, top, right, bottom), in pixels, around the white area of a mask; None for an image.
    """

    data: bytes
    width: int
    height: int
    white: tuple[int, int, int, int] | None = None


def normalize_image(data: bytes) -> NormalizedImage:
    """Decode an image's first frame and return it upright, in RGB, on a white background.

    Raises:
        BadInput: The file is no image, is damaged, or has more than ``MAX_PIXELS`` pixels.
    """
    return _encoded(_rgb(_opened(data, "image").picture))


def normalize_reference(data: bytes, number: int) -> NormalizedImage:
    """Return a reference picture as ``normalize_image`` does; ``number`` (1-based) tells a refusal which one it is.

    Raises BadInput as ``normalize_image`` does.
    """
    try:
        return normalize_image(data)
    except BadInput as refusal:
        key = refusal.key.replace("refusal.image.", "refusal.references.")
        raise BadInput(key, number=number, **refusal.params) from None


def normalize_mask(data: bytes, image: bytes, *, by_alpha: bool = False) -> NormalizedImage:
    """Decode an image's mask and return it in grey, on a black background, in the size of the normalized image.

    Args:
        data: The mask's file.
        image: The image's file.
        by_alpha: The fully transparent part is drawn anew, as in OpenAI's API; otherwise the white one.

    Raises:
        BadInput: The file is no image, its size differs from the image's, or nothing in it is to be drawn anew.
    """
    found, wanted = _opened(data, "mask"), _size(image)
    if found.size != wanted:
        raise BadInput(
            "refusal.mask.size",
            value="{}x{}".format(*found.size),
            wanted="{}x{}".format(*wanted),
        )
    mask = found.picture
    if by_alpha:
        return _transparent_part(mask)
    if mask.has_transparency_data:
        rgba = mask.convert("RGBA")
        mask = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    kept = _encoded(mask.convert("L"))
    if kept.white is None:
        raise BadInput("refusal.mask.black")
    return kept


def _transparent_part(mask: Image.Image) -> NormalizedImage:
    """Return a mask that is white where a picture is fully transparent. Raises BadInput if it is nowhere."""
    kept = None
    if mask.has_transparency_data:
        alpha = mask.convert("RGBA").getchannel("A")
        kept = _encoded(alpha.point(lambda value: 0 if value else 255))
    if kept is None or kept.white is None:
        raise BadInput("refusal.mask.opaque")
    return kept


@dataclass(frozen=True, slots=True)
class _Opened:
    """A decoded image with sides of at most MAX_SIDE, and its size in the file, both upright."""

    picture: Image.Image
    size: tuple[int, int]

    def turned(self, orientation: int) -> _Opened:
        """Return the image with an Exif orientation undone."""
        method = _TRANSPOSED.get(orientation)
        if method is None:
            return self
        turned = self.picture.transpose(method)
        return _Opened(turned, self.size[::-1] if orientation >= _SIDEWAYS else self.size)


def _size(data: bytes) -> tuple[int, int]:
    """Return the upright size of an image that was decoded before, from its header if that is intact."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as found:
            return found.size[::-1] if _orientation(found) >= _SIDEWAYS else found.size
    except Exception:  # noqa: BLE001 - as below
        return _opened(data, "image").size


def _opened(data: bytes, what: str) -> _Opened:
    """Decode the first frame, upright, in 8 bits and scaled down; ``what`` is ``image`` or ``mask``.

    If a JPEG or a PNG can't be decoded, it is decoded again without its metadata.
    """
    if has_too_many_parts(data):
        raise BadInput(f"refusal.{what}.damaged")
    try:
        return _decoded(data, what)
    except BadInput as refusal:
        bare = image_containers.strip_metadata(data)
        if refusal.key == f"refusal.{what}.too_large" or bare is None:
            raise
        return _decoded(_with_end(bare.data), what).turned(bare.orientation)


def _decoded(data: bytes, what: str) -> _Opened:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as found:
            if found.width * found.height > MAX_PIXELS:
                raise _too_large(what)
            size, orientation = found.size, _orientation(found)
            picture = _shrunk(found)
            # Rare modes (LAB, YCbCr) are converted here, where an error is handled.
            if picture.mode not in _PLAIN and not picture.has_transparency_data:
                picture = picture.convert("RGB")
            return _Opened(picture, size).turned(orientation)
    except BadInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Pillow's own limit is higher, but is checked first.
        raise _too_large(what) from None
    except UnidentifiedImageError:
        begin = data[:_BEGINNING]
        if (name := next((name for name, pattern in UNSUPPORTED_FORMATS if pattern.match(begin)), None)) is not None:
            raise BadInput(f"refusal.{what}.format", format=name) from None
        raise BadInput(f"refusal.{what}.unreadable") from None
    except Exception:  # noqa: BLE001 - Pillow's readers raise whatever the bytes lead them to
        raise BadInput(f"refusal.{what}.damaged") from None


def _too_large(what: str) -> BadInput:
    return BadInput(f"refusal.{what}.too_large", limit=MAX_PIXELS // 10**6)


def _orientation(found: Image.Image) -> int:
    """Return the Exif orientation, 1 to 8; 1 if there is none that can be read."""
    try:
        value = found.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged metadata is no reason to refuse the image
        exif = found.info.get("exif")
        value = image_containers.exif_orientation(exif) if isinstance(exif, bytes) else 1
    return value if isinstance(value, int) and value in _TRANSPOSED else 1


def _shrunk(found: Image.Image) -> Image.Image:
    """Return the image in 8 bits with sides of at most MAX_SIDE, before any step copies all pixels."""
    large = max(found.size) > MAX_SIDE
    if large and (found.mode in _NO_SHADES or "transparency" in found.info):
        # Pillow would scale these modes down by leaving pixels out.
        picture = found.convert("RGBA" if found.has_transparency_data else "L" if found.mode == "1" else "RGB")
    else:
        picture = _eight_bits(found)
    if large:
        # For a JPEG, this decodes at the reduced size.
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    else:
        picture.load()
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    # Pillow clips 16-bit and 32-bit greys instead of scaling them. It scales wide colours while it decodes them.
    if not picture.mode.startswith(("I", "F")):
        return picture
    wide = picture.convert("F")
    _, high = wide.getextrema()
    assert isinstance(high, float)
    most = next((m for m in (1.0, 255.0, 65535.0) if high <= m), high) if picture.mode == "F" else max(65535.0, high)
    return wide.point(lambda value: value * (255.0 / most)).convert("L")


def _with_end(data: bytes) -> bytes:
    """Return a truncated JPEG with its end marker if almost all rows are there; any other file unchanged."""
    if not data.startswith(image_containers.JPEG) or data.endswith(image_containers.JPEG_END):
        return data
    if image_containers.is_progressive(data):
        complete = image_containers.has_all_scans(data)
    else:
        # Decode onto black, then onto white: rows that differ were not in the file.
        seen = [_decoded_partly(data, fill) for fill in (0, 255)]
        if None in seen:
            return data
        first, second = (picture for picture in seen if picture is not None)
        missing = ImageChops.difference(first, second).getbbox()
        rows = 0 if missing is None else first.height - missing[1]
        complete = rows <= min(_ROWS_MISSING + _SHARE_MISSING * first.height, first.height / 2)
    return data + image_containers.JPEG_END if complete else data


def _decoded_partly(data: bytes, fill: int) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as found:
            assert isinstance(found, ImageFile.ImageFile)
            if found.width * found.height > MAX_PIXELS:
                return None
            found.load_prepare()
            found.im.paste((fill,) * len(found.getbands()) if len(found.getbands()) > 1 else fill, (0, 0, *found.size))
            try:
                found.load()
            except OSError:
                found.tile = []  # nothing more to load
            return found.copy()
    except Exception:  # noqa: BLE001 - as above
        return None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in {"RGB", "CMYK"}:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a damaged profile is ignored
        else:
            assert converted is not None
            return converted
    return picture.convert("RGB")


def _encoded(picture: Image.Image) -> NormalizedImage:
    # A new image drops the file's metadata (location, camera, profile).
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    out = io.BytesIO()
    bare.save(out, "PNG", compress_level=1)
    white = bare.point(lambda value: value >= MASK_THRESHOLD and 255).getbbox() if bare.mode == "L" else None
    return NormalizedImage(out.getvalue(), bare.width, bare.height, white)


@dataclass(frozen=True, slots=True)
class StagedSources:
    """The pictures of a form, decoded and staged.

    Attributes:
        source: The source image; None if there is none.
        references: The reference pictures, in the form's order.
        files: All of their files, to be committed with the job.
    """

    source: SourceImage | None
    references: tuple[ReferenceImage, ...]
    files: tuple[Staged, ...]


@asynccontextmanager
async def staged_sources(ctx: AppContext, form: DrawForm) -> AsyncIterator[StagedSources]:
    """Normalize a form's pictures and stage them as files; yields them, and removes files that were not kept.

    The AIGC label and the signed manifest of an upload go into its file (``bot.provenance.kept_marks``).

    Raises:
        BadInput: There is a mask without an image, there are too many references, or a file is no image, damaged or
            too large.
        Unavailable: The disk is full.
    """
    image, mask = form.image, form.mask
    if image is None and mask is not None:
        raise BadInput("refusal.mask.no_image")
    check_count(len(form.references))
    async with AsyncExitStack() as stack:
        files: list[Staged] = []

        async def stage(normalize: Callable[[], NormalizedImage], upload: bytes = b"") -> tuple[str, NormalizedImage]:
            # One after the other: a large picture takes much memory until its file is written.
            async with ctx.image_lock:
                plain = await asyncio.to_thread(normalize)
            data = await asyncio.to_thread(keep_marks, plain.data, upload, manifest=ctx.keeps_manifests)
            files.append(await inputs.stage(ctx.pictures, data))
            stack.push_async_callback(inputs.discard, files[-1])
            return files[-1].name, plain

        source = None
        if image is not None:
            name, plain = await stage(lambda: normalize_image(image), image)
            source = SourceImage(name, plain.width, plain.height)
            if mask is not None:
                mask_name, plain_mask = await stage(
                    lambda: normalize_mask(mask, image, by_alpha=bool(form.mask_by_alpha))
                )
                source = SourceImage(name, plain.width, plain.height, mask=mask_name, white=plain_mask.white)
        references = []
        for number, data in enumerate(form.references, 1):
            name, plain = await stage(partial(normalize_reference, data, number), data)
            references.append(ReferenceImage(name, plain.width, plain.height))
        yield StagedSources(source, tuple(references), tuple(files))
