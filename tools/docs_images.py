"""Take the pictures of README.md and the docs, into docs/images.

    python tools/docs_images.py [NAME ...]     all, or these files

The page's are of the real service with the demo model, in a real Chromium; those of the chats are drawn from what the
adapters send. Needs Chromium, chromedriver, and Noto's CJK and emoji fonts (Debian: fonts-noto-cjk fonts-noto-color-emoji).
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bot.cards.i18n import LOCALES  # noqa: E402 - the tool runs from any folder
from bot.core.cards import CardPreview  # noqa: E402
from bot.core.pictures import Picture  # noqa: E402
from tests.e2e.web.browser import CHROMIUM, DRIVER, Browser  # noqa: E402
from tools import readme_picture  # noqa: E402
from tools.cards import cards_of, draw, sheets  # noqa: E402
from tools.picture_sources import IMAGES, Sources, project_version, write  # noqa: E402
from tools.screenshots import HEIGHTS, Camera, Look, live_through_a_day, opened  # noqa: E402

PAGE = {
    "page.png": ("feed", Look(1600)),
    "page-phone.png": ("feed", Look(390, "dark")),
    "page-viewer.png": ("viewer", Look(1024, "dark")),
    "page-owner.png": ("owner", Look(1280)),
}
"""Pictures of the page."""
CARDS = {
    f"{name}-cards.{locale.replace('_', '-')}.png": (name, locale)
    for locale in LOCALES
    for name in ("discord", "telegram")
}
"""Pictures of all cards: a platform and a language."""
WHOLE = {f"easel.{locale.replace('_', '-')}.png": locale for locale in LOCALES}
"""Pictures of the page and both chats: a language."""
EVERY = (*PAGE, *CARDS, *WHOLE)
SHEET_WIDTH = 1320
WHOLE_SCALE = 1.5
"""Pixels of a CSS pixel."""


def language(name: str) -> str:
    """Return the language of a picture: ``en`` or ``zh``."""
    if name in PAGE:
        return PAGE[name][1].lang
    return (CARDS[name][1] if name in CARDS else WHOLE[name])[:2]


def small(png: bytes, *, dither: bool = True) -> bytes:
    """Return the picture with a palette of 256 colours, which makes it much smaller."""
    out = io.BytesIO()
    how = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=how).save(
            out, "PNG", optimize=True
        )
    return out.getvalue()


def shot(browser: Browser, page: Path, width: int, height: int = 0, scale: float = 1) -> bytes:
    """Return a PNG of an HTML file, as high as its ``main`` where no height is given."""
    size = {"width": width, "height": height or HEIGHTS[1024], "deviceScaleFactor": scale, "mobile": False}
    browser.prefer()
    browser.command("Emulation.setDeviceMetricsOverride", **size)
    browser.driver.get(page.as_uri())
    browser.until("return [...document.images].every((image) => image.complete)", "all pictures are loaded")
    if not height:
        bottom = browser.js("return document.querySelector('main').getBoundingClientRect().bottom")
        browser.command("Emulation.setDeviceMetricsOverride", **{**size, "height": int(bottom) + 24})
    return bytes(browser.driver.get_screenshot_as_png())


def keep(name: str, png: bytes, sources: Sources) -> None:
    """Write a picture and its sources."""
    data = small(png, dither=name not in CARDS)
    (IMAGES / name).write_bytes(data)
    write({name: sources.digests(data)})
    sys.stdout.write(f"docs/images/{name}: {len(data) // 1000} kB\n")


async def messages_of(
    name: str, folder: Path, pictures: Sequence[Picture], preview: CardPreview, page: bytes = b""
) -> str:
    """Return the HTML of a picture that shows chats; empty for one of the page."""
    if name in CARDS:
        platform, locale = CARDS[name]
        return (await sheets(locale, folder, pictures, preview))[platform].html()
    if name in WHOLE:
        cards = await cards_of(WHOLE[name], folder, pictures, preview)
        return await readme_picture.readme_picture(cards, page, WHOLE[name])
    return ""


def take(camera: Camera, lang: str, names: Sequence[str], folder: Path) -> None:
    """Take these pictures, which are in one language."""
    for name, (view, look) in PAGE.items():
        if name in names:
            if view == "owner":
                live_through_a_day(camera.service)
            png = camera.take(view, look)
            keep(name, png, camera.sources())
    chats = [name for name in names if name not in PAGE]
    if not chats:
        return
    whole = Look(readme_picture.PAGE_WIDTH, lang=lang)
    page, page_sources = b"", Sources()
    if set(chats) & set(WHOLE):
        page = camera.take("feed", whole, readme_picture.PAGE_HEIGHT, WHOLE_SCALE)
        page_sources = camera.sources()
    pictures, preview = draw(camera.service, folder)
    for name in chats:
        html = asyncio.run(messages_of(name, folder, pictures, preview, page))
        file = folder / "messages.html"
        file.write_text(html, encoding="utf-8")
        if name in WHOLE:
            png = shot(camera.browser, file, readme_picture.WIDTH, readme_picture.HEIGHT, WHOLE_SCALE)
            keep(name, png, Sources(page_sources.files, page_sources.texts, html))
        else:
            keep(name, shot(camera.browser, file, SHEET_WIDTH), Sources(messages=html))


def main(names: Sequence[str]) -> None:
    """Take the pictures."""
    if unknown := set(names) - set(EVERY):
        sys.exit(f"There is no picture {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}.")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        sys.exit(f"{CHROMIUM} or {DRIVER} is missing: install Chromium and chromedriver.")
    if (installed := version("easel")) != project_version():
        sys.exit(f"The pictures would show Easel {installed}: run make setup.")
    for lang in ("en", "zh"):
        if wanted := [name for name in names or EVERY if language(name) == lang]:
            with opened(lang) as camera, tempfile.TemporaryDirectory() as folder:
                take(camera, lang, wanted, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
