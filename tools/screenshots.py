"""Take pictures of the page: the real service with the demo model, in a real Chromium.

    python tools/screenshots.py            the few that README.md and the docs show, into docs/images
    python tools/screenshots.py FOLDER [VIEW ...]
                                           every view, or these, at 390, 1024 and 1600 pixels, in light and dark, in
                                           English and Chinese, and with forced colours

Needs Chromium and chromedriver.
"""

import io
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e.service import Service  # noqa: E402 - the tool runs from any folder
from tests.e2e.web.browser import CHROMIUM, DRIVER, Browser  # noqa: E402

IMAGES = ROOT / "docs/images"
HEIGHTS = {390: 844, 1024: 768, 1600: 1000}
DRAWINGS = (
    {"prompt": "a mushroom on a meadow", "seed": "1"},
    {"prompt": "a rocket on a yellow background", "seed": "2", "size": "256x144"},
    {"prompt": "a castle at sunset", "seed": "4", "count": "2"},
    {"prompt": "夜空中的一只猫", "seed": "3"},
    {"prompt": "a penguin in the snow", "seed": "1", "count": "3"},
    {"prompt": "a red apple on a blue background", "seed": "3", "count": "4"},
)
"""Fields of the form, the oldest drawing first."""
LONG = {"prompt": "a green frog", "size": "256x256", "steps": "50", "count": "4"}
"""A drawing that takes long enough to be looked at."""
LOADED = """
return [...document.images].every((image) => !image.offsetParent || (image.complete && image.naturalWidth))
  && !document.querySelector('[aria-busy=true]');
"""


@dataclass(frozen=True)
class Look:
    """How somebody looks at the page."""

    width: int
    scheme: str = "light"
    lang: str = "en"
    forced: bool = False

    @property
    def name(self) -> str:
        """The part of a file's name."""
        return f"{self.width}-{'forced' if self.forced else self.scheme}-{self.lang}"


LOOKS = (
    *(Look(w, scheme, lang) for w in HEIGHTS for scheme in ("light", "dark") for lang in ("en", "zh")),
    Look(1024, forced=True),
)


class Camera:
    """Brings the page into its views and takes pictures of them."""

    def __init__(self, service: Service, browser: Browser) -> None:
        self._service = service
        self._browser = browser
        self._look = Look(1024)
        self._open_jobs: list[int] = []
        self.views: dict[str, Callable[[], None]] = {
            "feed": self.feed,
            "size": self.size,
            "more": self.more,
            "viewer": self.viewer,
            "grid": self.grid,
            "keys": self.keys,
            "queue": self.queue,
            "account": self.account,
            "signin": self.sign_in,
            "owner": self.owner,
            "people": lambda: self.owner("people"),
            "settings": lambda: self.owner("settings"),
        }

    def take(self, view: str, look: Look) -> bytes:
        """Return a PNG of a view."""
        self._look = look
        self._browser.command(
            "Emulation.setDeviceMetricsOverride",
            width=look.width,
            height=HEIGHTS[look.width],
            deviceScaleFactor=1,
            mobile=look.width < 500,
        )
        forced = "active" if look.forced else "none"
        self._browser.prefer(prefers_color_scheme=look.scheme, prefers_reduced_motion="reduce", forced_colors=forced)
        self.views[view]()
        if view != "queue":  # it changes all the time
            self._browser.until(LOADED, f"{view} is loaded")
        png = bytes(self._browser.driver.get_screenshot_as_png())
        while self._open_jobs:
            job = self._open_jobs.pop()
            self._service.call("/api/press", {"id": f"easel:cancel:{job}", "key": f"shot-{job:08}"})
            self._service.finished(job)
        return png

    def _open(self, path: str = "", hash_: str = "") -> None:
        self._browser.driver.get("about:blank")
        self._browser.driver.get(f"{self._service.url}/{path}?lang={self._look.lang}{hash_}")
        ready = "return document.querySelector('main') && !document.getElementById('app')?.hidden"
        self._browser.until(ready, path or "the page")

    def feed(self) -> None:
        """Show the feed."""
        self._open()
        self._browser.until("return document.querySelectorAll('.job img').length > 6", "the pictures")
        self._browser.js("document.activeElement.blur()")

    def _popover(self, name: str) -> None:
        self.feed()
        self._browser.js("document.getElementById(arguments[0]).click()", f"chip-{name}")
        self._browser.until(f"return document.getElementById('popover-{name}').matches(':popover-open')", name)

    def size(self) -> None:
        """Show the choice of a size."""
        self._popover("size")

    def more(self) -> None:
        """Show the further settings."""
        self._popover("more")

    def viewer(self) -> None:
        """Show one picture."""
        self._open(hash_=f"#job/{len(DRAWINGS)}/2")
        self._browser.until("return document.getElementById('viewer-picture')?.complete", "the picture")

    def grid(self) -> None:
        """Show all pictures."""
        self._open(hash_="#grid")
        self._browser.until("return document.querySelectorAll('.tile').length > 6", "the tiles")

    def keys(self) -> None:
        """Show the list of keys."""
        self.feed()
        self._browser.js("document.getElementById('help').click()")

    def queue(self) -> None:
        """Show a job that is drawn and the queue's drawer."""
        jobs = [self._service.draw(**LONG), self._service.draw("a blue boat", count="2")]
        self._open()
        self._browser.until("return !document.getElementById('queue-pill').hidden", "the pill")
        self._browser.js("document.getElementById('queue').showPopover()")
        self._browser.until("return document.querySelector('#queue [role=progressbar]')", "a job that is drawn", 60)
        self._open_jobs = jobs

    def account(self) -> None:
        """Show the account."""
        self._open("account")
        self._browser.until("return document.querySelector('.account-part')", "the account")

    def sign_in(self) -> None:
        """Show the page for signing in."""
        self._open("signin")

    def owner(self, section: str = "home") -> None:
        """Show a section of the owner's pages."""
        self._open("owner", f"#{section}")
        self._browser.until(
            "return document.querySelector('main')?.dataset.name && !document.querySelector('main [aria-busy]')",
            section,
        )


def small(png: bytes) -> bytes:
    """Return the picture with a palette, which makes it much smaller."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, "PNG", optimize=True)
    return out.getvalue()


FOR_DOCS = {
    "page.png": ("feed", Look(1600)),
    "page-phone.png": ("feed", Look(390, "dark")),
    "page-viewer.png": ("viewer", Look(1024, "dark")),
    "page-owner.png": ("owner", Look(1024)),
}
"""Files of docs/images."""


@contextmanager
def opened(lang: str) -> Iterator[Camera]:
    """Draw with the demo model in a fresh data folder, as somebody with this language."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        try:
            service.start()
            for fields in DRAWINGS:
                body = {"key": uuid.uuid4().hex, **fields}
                service.finished(service.call(f"/api/draw?lang={lang}", body)["card"]["job_id"])
            browser = Browser(Path(folder), width=1024, height=HEIGHTS[1024])
            try:
                browser.command("Emulation.setScrollbarsHidden", hidden=True)
                yield Camera(service, browser)
            finally:
                browser.close()
        finally:
            service.end()


def main() -> None:
    """Take the pictures."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        sys.exit(f"{CHROMIUM} or {DRIVER} is missing: install Chromium and chromedriver.")
    if len(sys.argv) < 2:
        with opened("en") as camera:
            for name, (view, look) in FOR_DOCS.items():
                (IMAGES / name).write_bytes(small(camera.take(view, look)))
        return
    to = Path(sys.argv[1])
    to.mkdir(parents=True, exist_ok=True)
    for lang in ("en", "zh"):
        with opened(lang) as camera:
            for view in sys.argv[2:] or camera.views:
                for look in LOOKS:
                    if look.lang == lang:
                        (to / f"{view}-{look.name}.png").write_bytes(camera.take(view, look))


if __name__ == "__main__":
    main()
