"""Take the picture of the page in README.md: python tools/screenshot.py [FILE]. Needs Chromium and chromedriver."""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e.service import Service  # noqa: E402 - the tool runs from any folder
from tests.e2e.web.browser import CHROMIUM, DRIVER, Browser  # noqa: E402

FILE = ROOT / "docs/images/page.png"
WIDTH, HEIGHT = 1200, 920
DRAWINGS = (
    {"prompt": "a castle at sunset", "seed": "4"},
    {"prompt": "a red apple on a blue background", "seed": "3"},
    {"prompt": "a cat in the night sky", "seed": "3"},
    {"prompt": "a penguin in the snow", "seed": "1"},
    {"prompt": "a rocket on a yellow background", "seed": "2"},
    {"prompt": "a mushroom on a meadow", "seed": "1", "count": "2"},
)
"""Fields of the requests, the oldest drawing first. The page shows the last one on top."""
LOADED = "return [...document.querySelectorAll('main img')].every((image) => image.complete && image.naturalWidth)"


def main() -> None:
    """Draw with the demo model in a fresh data folder, and write the picture of the page."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        sys.exit(f"{CHROMIUM} or {DRIVER} is missing: install Chromium and chromedriver.")
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        try:
            service.start()
            for fields in DRAWINGS:
                service.finished(service.draw(**fields))
            browser = Browser(Path(folder), width=WIDTH, height=HEIGHT)
            try:
                browser.command("Emulation.setScrollbarsHidden", hidden=True)
                browser.prefer(prefers_reduced_motion="reduce")
                browser.open(service.url)
                browser.write("prompt", DRAWINGS[-1]["prompt"])
                browser.js("document.activeElement.blur()")
                browser.until(LOADED, "all pictures are loaded")
                browser.driver.save_screenshot(sys.argv[1] if len(sys.argv) > 1 else str(FILE))
            finally:
                browser.close()
        finally:
            service.end()


if __name__ == "__main__":
    main()
