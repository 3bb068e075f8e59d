"""The page in Chromium: bytes of its first load, movement while jobs end, scrolling; and probes beside many readers."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from engine.families.z_image.spec import z_image_turbo
from tests.bench.test_speed import measured, percentile
from tests.e2e.service import Service
from tests.e2e.web.browser import Browser
from tests.e2e.web.test_grid import multiply
from tests.fakes import engine as fake_engine
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

TILES = 24
MOST_BYTES = 300_000
READERS = 300
PROBES = 300
MANY = 10_000
FRAME_MS = 1000 / 60

SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) window.shifted += one.value;
}).observe({type: 'layout-shift', buffered: false});
"""
# Scrolls by a part of the window in each frame, as a wheel does, and counts the frames and their length.
SCROLL = """
const [frames, done] = arguments;
const long = [];
let last = performance.now();
let left = frames;
const step = (now) => {
  long.push(now - last);
  last = now;
  scrollBy(0, 120);
  if (--left) requestAnimationFrame(step);
  else done({frames: long, top: scrollY});
};
requestAnimationFrame(step);
"""


def told(benchmark: BenchmarkFixture, what: str, **figures: float) -> None:
    """Keep and print what was measured."""
    benchmark.extra_info.update({name: round(value, 4) for name, value in figures.items()})
    sys.stdout.write(f"{what}: {benchmark.extra_info}\n")


def photograph(seed: int, side: int = 1024) -> Image.Image:
    """A picture with as much detail as photographs have (150 kB as a JPEG of quality 80): amplitudes fall with the
    frequency.
    """
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1.0
    amplitude = frequency**-1.5
    bands = []
    shared = np.exp(2j * np.pi * random.random(amplitude.shape))
    for _ in range(3):
        phases = shared * np.exp(0.6j * random.standard_normal(amplitude.shape))
        band = np.fft.irfft2(amplitude * phases, s=(side, side))
        band = (band - band.mean()) / band.std()
        bands.append(np.clip(128 + 55 * band, 0, 255).astype(np.uint8))
    return Image.fromarray(np.dstack(bands))


@asynccontextmanager
async def page(folder: Path) -> AsyncIterator[WebHarness]:
    """A page with an engine that draws at once."""
    gate = StepGate()
    gate.open()
    async with WebHarness(folder, FakeEngine((z_image_turbo(),), gate), gate, settings_of()).opened() as app:
        yield app


def in_browser(folder: Path, app: WebHarness, scene: Callable[[Browser, str], Any]) -> Any:
    """Run what happens in a window of its own."""
    browser = Browser(folder / "browser", width=1200, height=900)
    try:
        return scene(browser, str(app.client.make_url("/")))
    finally:
        browser.close()


def received(browser: Browser) -> Counter[str]:
    """Return the bytes that came over the wire since the last call, headers included, by the first part of the path."""
    events = [json.loads(str(entry["message"]))["message"] for entry in browser._log("performance")]
    paths: dict[str, str] = {}
    found: Counter[str] = Counter()
    for event in events:
        params = event["params"]
        # The window's own first tab loads parts of the browser.
        if event["method"] == "Network.requestWillBeSent" and params["request"]["url"].startswith("http"):
            paths[params["requestId"]] = urlsplit(params["request"]["url"]).path.split("/")[1] or "page"
        elif event["method"] == "Network.loadingFinished" and params["requestId"] in paths:
            found[paths[params["requestId"]]] += int(params["encodedDataLength"])
    return found


@pytest.mark.parametrize("view", ["grid", "feed"])
def test_bytes_of_the_first_load(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    """24 pictures of 1024x1024, with an empty cache (limit of the grid: 300 kB)."""
    numbers = itertools.count()
    monkeypatch.setattr(fake_engine, "_picture", lambda _recipe: photograph(next(numbers)))

    async def run() -> Counter[str]:
        async with page(tmp_path) as app:
            for number in range(TILES):
                await app.drawn(f"a landscape {number}")
            found: Counter[str] = await asyncio.to_thread(in_browser, tmp_path, app, first_load)
            return found

    def first_load(browser: Browser, url: str) -> Counter[str]:
        browser.open(f"{url}#{view}")
        browser.until("return document.querySelectorAll('.tile img, .job img').length >= 4", "the pictures")
        loaded = (
            "return [...document.images].every((one) => one.complete && one.naturalWidth"
            " || one.getBoundingClientRect().top > innerHeight)"
        )
        browser.until(loaded, "all are loaded")
        total = received(browser)
        time.sleep(1)  # late requests
        return total + received(browser)

    found = measured(benchmark)(lambda: asyncio.run(run()), rounds=1)
    told(benchmark, f"first load of the {view}", total=found.total(), **found)
    if view == "grid":
        assert found.total() < MOST_BYTES


def test_movement_while_jobs_end(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Five jobs of another client end while somebody reads the feed (limit: a layout shift of 0.02)."""

    async def run() -> float:
        async with page(tmp_path) as app:
            for number in range(12):
                await app.drawn(f"before {number}")
            loop = asyncio.get_running_loop()

            def scene(browser: Browser, url: str) -> float:
                browser.open(url)
                browser.until("return document.querySelectorAll('.job img').length >= 8", "the feed")
                browser.js("scrollTo(0, 700)")
                browser.until("return scrollY > 600", "the reader's place")
                time.sleep(0.5)  # the scroll's own movement is over
                browser.js(SHIFTS)
                for number in range(5):
                    asyncio.run_coroutine_threadsafe(app.drawn(f"after {number}"), loop).result(60)
                browser.until("return document.getElementById('fresh')", "the pill")
                time.sleep(0.5)
                return float(browser.js("return window.shifted"))

            return float(await asyncio.to_thread(in_browser, tmp_path, app, scene))

    found = measured(benchmark)(lambda: asyncio.run(run()), rounds=1)
    told(benchmark, "five jobs end", cls=found)
    assert found < 0.02


@pytest.mark.parametrize("view", ["feed", "grid"])
def test_scrolling_through_ten_thousand_pictures(benchmark: BenchmarkFixture, tmp_path: Path, view: str) -> None:
    """What the main thread computes for a frame while the page scrolls, in processor time (limit: a 60th of a second).

    Frames are counted by requestAnimationFrame. Without a screen and on a busy machine their distance says little.
    """

    async def run() -> dict[str, float]:
        async with page(tmp_path) as app:
            await app.drawn("a red apple")
            await multiply(app, MANY)
            return dict(await asyncio.to_thread(in_browser, tmp_path, app, scene))

    def scene(browser: Browser, url: str) -> dict[str, float]:
        browser.open(f"{url}#{view}")
        browser.until("return document.querySelectorAll('.tile, .job').length >= 4", view)
        browser.command("Performance.enable", timeDomain="threadTicks")

        def spent() -> float:
            metrics = browser.command("Performance.getMetrics")["metrics"]
            return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

        before = spent()
        scrolled = browser.driver.execute_async_script(SCROLL, 600)
        busy = spent() - before
        lengths = sorted(scrolled["frames"])
        return {
            "main_thread_ms_per_frame": busy * 1000 / len(lengths),
            "frame_ms_p50": percentile(lengths, 50),
            "frame_ms_p95": percentile(lengths, 95),
            "pixels": scrolled["top"],
        }

    found = measured(benchmark)(lambda: asyncio.run(run()), rounds=1)
    told(benchmark, f"scrolling the {view}", **found)
    assert found["main_thread_ms_per_frame"] < FRAME_MS


def test_probes_beside_many_readers(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """/healthz while the engine draws and 300 browsers read /api/events (limit: p99 of 50 ms)."""
    service = Service(tmp_path)
    service.start()

    async def run() -> list[float]:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
        async with aiohttp.ClientSession(service.url, connector=connector, timeout=timeout) as session:
            streams = [await session.get("/api/events") for _ in range(READERS)]

            async def read(stream: aiohttp.ClientResponse) -> None:
                async for _ in stream.content:
                    pass

            readers = [asyncio.create_task(read(one)) for one in streams]
            drawing = asyncio.create_task(draw(session))
            seconds = []
            for _ in range(PROBES):
                begin = time.perf_counter()
                async with session.get("/healthz") as answer:
                    assert answer.status == 200
                seconds.append(time.perf_counter() - begin)
                await asyncio.sleep(0.02)
            for task in (drawing, *readers):
                task.cancel()
            await asyncio.gather(drawing, *readers, return_exceptions=True)
            return sorted(seconds)

    async def draw(session: aiohttp.ClientSession) -> None:
        for number in itertools.count():
            body = {"key": f"probe-{number:08}", "prompt": f"a red apple {number}", "count": "4"}
            async with session.post("/api/draw", json=body) as answer:
                await answer.read()
            await asyncio.sleep(0.5)

    try:
        seconds = measured(benchmark)(lambda: asyncio.run(run()), rounds=1)
    finally:
        service.end()
    p50, p99 = percentile(seconds, 50) * 1000, percentile(seconds, 99) * 1000
    told(benchmark, "/healthz beside 300 readers", p50_ms=p50, p99_ms=p99)
    assert p99 < 50
