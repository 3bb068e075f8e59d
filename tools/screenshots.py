"""Take pictures of the page: the real service with the demo model, in a real Chromium.

    python tools/screenshots.py FOLDER [VIEW ...]
                                           every view, or these, at 390, 1024 and 1600 pixels, in light and dark, in
                                           English and Chinese, and with forced colours

Those of README.md and the docs are taken by docs_images.py. Needs Chromium and chromedriver.
"""

import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e.service import Service  # noqa: E402 - the tool runs from any folder
from tests.e2e.web.browser import CHROMIUM, DRIVER, Browser  # noqa: E402
from tools.picture_sources import MODEL, STATIC, Sources, seen_texts  # noqa: E402

HEIGHTS = {390: 844, 1024: 768, 1280: 900, 1600: 1000}
DRAWINGS = {
    "en": (
        {"prompt": "a red heart on a black background", "seed": "1"},
        {"prompt": "a rocket on a yellow background", "seed": "2", "size": "256x144"},
        {"prompt": "a fox on a meadow", "seed": "4", "count": "2"},
        {"prompt": "雪地里的企鹅", "seed": "1", "count": "3"},
        {"prompt": "a panda on a green background", "seed": "4", "count": "4"},
    ),
    "zh": (
        {"prompt": "黑色背景上的红心", "seed": "1"},
        {"prompt": "黄色背景上的火箭", "seed": "2", "size": "256x144"},
        {"prompt": "草地上的狐狸", "seed": "4", "count": "2"},
        {"prompt": "a penguin in the snow", "seed": "1", "count": "3"},
        {"prompt": "绿色背景上的熊猫", "seed": "4", "count": "4"},
    ),
}
"""Fields of the form for each language, the oldest drawing first."""
LONG = {"prompt": "a green frog", "size": "256x256", "steps": "50", "count": "4"}
"""A drawing that takes long enough to be looked at."""
LOADED = """
return [...document.images].every((image) => !image.offsetParent || (image.complete && image.naturalWidth))
  && !document.querySelector('[aria-busy=true]');
"""
SHOWN = """
return {text: document.body.innerText,
        files: [location.pathname, ...performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)]};
"""


@dataclass(frozen=True)
class Look:
    """How somebody looks at the page."""

    width: int
    scheme: str = "light"
    lang: str = "en"
    forced: bool = False

    @property
    def locale(self) -> str:
        """The catalogue's name of the language."""
        return {"zh": "zh_CN"}.get(self.lang, self.lang)

    @property
    def name(self) -> str:
        """The part of a file's name."""
        return f"{self.width}-{'forced' if self.forced else self.scheme}-{self.lang}"


LOOKS = (
    *(Look(w, scheme, lang) for w in (390, 1024, 1600) for scheme in ("light", "dark") for lang in ("en", "zh")),
    Look(1024, forced=True),
)


class Camera:
    """Brings the page into its views and takes pictures of them.

    Attributes:
        service: The service whose page it is.
        browser: The window.
    """

    def __init__(self, service: Service, browser: Browser) -> None:
        self.service = service
        self.browser = browser
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

    def take(self, view: str, look: Look, height: int = 0, scale: float = 1) -> bytes:
        """Return a PNG of a view; without a height it has the usual one for its width."""
        self._look = look
        self.browser.command(
            "Emulation.setDeviceMetricsOverride",
            width=look.width,
            height=height or HEIGHTS[look.width],
            deviceScaleFactor=scale,
            mobile=look.width < 500,
        )
        forced = "active" if look.forced else "none"
        self.browser.prefer(prefers_color_scheme=look.scheme, prefers_reduced_motion="reduce", forced_colors=forced)
        self.views[view]()
        if view != "queue":  # it changes all the time
            self.browser.until(LOADED, f"{view} is loaded")
        png = bytes(self.browser.driver.get_screenshot_as_png())
        while self._open_jobs:
            job = self._open_jobs.pop()
            self.service.call("/api/press", {"id": f"easel:cancel:{job}", "key": f"shot-{job:08}"})
            self.service.finished(job)
        return png

    def sources(self) -> Sources:
        """Return the sources of the view that was taken last."""
        shown = self.browser.js(SHOWN)
        pages = {"/": "index.html", "/owner": "owner.html"}
        names = (pages.get(path, path.rpartition("/")[2]) for path in shown["files"])
        files = {f"{STATIC}/{name}" for name in names if name and (ROOT / STATIC / name).is_file()}
        prefix = "owner." if "/owner" in shown["files"] else "web."
        keys = seen_texts(self._look.locale, prefix, shown["text"])
        return Sources({*MODEL, *files}, (self._look.locale, keys), version=version("easel") in shown["text"])

    def _open(self, path: str = "", hash_: str = "") -> None:
        self.browser.driver.get("about:blank")
        self.browser.driver.get(f"{self.service.url}/{path}?lang={self._look.lang}{hash_}")
        ready = "return document.querySelector('main') && !document.getElementById('app')?.hidden"
        self.browser.until(ready, path or "the page")

    def feed(self) -> None:
        """Show the feed."""
        self._open()
        self.browser.until("return document.querySelectorAll('.job img').length > 6", "the pictures")
        self.browser.js("document.activeElement.blur()")

    def _popover(self, name: str) -> None:
        self.feed()
        self.browser.js("document.getElementById(arguments[0]).click()", f"chip-{name}")
        self.browser.until(f"return document.getElementById('popover-{name}').matches(':popover-open')", name)

    def size(self) -> None:
        """Show the choice of a size."""
        self._popover("size")

    def more(self) -> None:
        """Show the further settings."""
        self._popover("more")

    def viewer(self) -> None:
        """Show one picture."""
        self._open(hash_=f"#job/{len(DRAWINGS[self._look.lang])}/4")
        self.browser.until("return document.getElementById('viewer-picture')?.complete", "the picture")

    def grid(self) -> None:
        """Show all pictures."""
        self._open(hash_="#grid")
        self.browser.until("return document.querySelectorAll('.tile').length > 6", "the tiles")

    def keys(self) -> None:
        """Show the list of keys."""
        self.feed()
        self.browser.js("document.getElementById('help').click()")

    def queue(self) -> None:
        """Show a job that is drawn and the queue's drawer."""
        jobs = [self.service.draw(**LONG), self.service.draw("a blue boat", count="2")]
        self._open()
        self.browser.until("return !document.getElementById('queue-pill').hidden", "the pill")
        self.browser.js("document.getElementById('queue').showPopover()")
        self.browser.until("return document.querySelector('#queue [role=progressbar]')", "a job that is drawn", 60)
        self._open_jobs = jobs

    def account(self) -> None:
        """Show the account."""
        self._open("account")
        self.browser.until("return document.querySelector('.account-part')", "the account")

    def sign_in(self) -> None:
        """Show the page for signing in."""
        self._open("signin")

    def owner(self, section: str = "home") -> None:
        """Show a section of the owner's pages."""
        self._open("owner", f"#{section}")
        self.browser.until(
            "return document.querySelector('main')?.dataset.name && !document.querySelector('main [aria-busy]')",
            section,
        )


def live_through_a_day(service: Service) -> None:
    """Fill the charts of the owner's pages with an example: a club's day, busiest in the evening."""
    slot = 900
    last = int(time.time() // slot) * slot - slot
    with sqlite3.connect(service.data / "easel.db") as db:
        for back in range(95):
            hour = (95 - back) / 4
            crowd = max(0.0, 1 - abs(hour - 19) / 7) + max(0.0, 0.4 - abs(hour - 9) / 8)
            pictures = round(crowd * (18 + 7 * (back * 37 % 11) / 10))
            within = round(pictures * 0.4)
            values = (
                last - back * slot,
                pictures,
                pictures // 23,
                pictures // 19,
                within,
                pictures // 14,
                pictures // 17,
            )
            db.execute(
                "INSERT INTO activity (at, pictures, failed, cancelled, within, early, late, waiting, busy)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*values, round(crowd * (back * 53 % 7)), pictures * 24.0),
            )
    db.close()


@contextmanager
def opened(lang: str) -> Iterator[Camera]:
    """Draw with the demo model in a fresh data folder, as somebody with this language."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        try:
            service.start()
            for fields in DRAWINGS[lang]:
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
        sys.exit(str(__doc__))
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
