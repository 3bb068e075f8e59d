"""The feed under load: many readers of one stream while pictures are drawn, and the first load of a grid over the wire."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image, ImageFilter
from pytest_benchmark.fixture import BenchmarkFixture

from adapters.web.static_files import STATIC
from bot.storage import thumbnails
from tests.bench.test_speed import ROOT, percentile
from tests.e2e.service import free_port

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

READERS = 300
SECONDS = 20.0
LIMIT_SECONDS = 0.050
TILES = 24
MOST_BYTES = 300_000
SEED = 7


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[str]:
    """Run the service in a process of its own; yields the page's address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.feed_service",
        str(folder),
        str(port),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while (line := await process.stdout.readline()) != b"ready\n":
                assert line, "the service has not started"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        async with asyncio.timeout(30):
            await process.wait()


@asynccontextmanager
async def readers(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Read that many streams in a process of its own, once all of them have begun."""
    command = (sys.executable, "-m", "tests.bench.feed_readers", url, str(READERS))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def draw(url: str, rng: random.Random) -> None:
    """Ask for pictures again and again, a few at a time."""
    async with aiohttp.ClientSession(url) as session:
        for number in range(10**6):
            body = {"key": f"bench-{number:08}", "prompt": f"picture {number}", "count": str(rng.randint(1, 4))}
            async with session.post("/api/draw", json=body) as response:
                assert response.status in {201, 403, 503}, await response.text()
            await asyncio.sleep(rng.uniform(0.1, 0.5))


async def ask(url: str, seconds: float) -> list[float]:
    """Ask whether the service is up, twenty times a second; returns how long each answer took."""
    taken = []
    async with aiohttp.ClientSession(url) as session:
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            async with session.get("/healthz") as response:
                assert await response.text() == "ok"
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
    return taken


def test_answers_while_300_people_read(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """``/healthz`` while pictures are drawn and 300 streams are read (limit: p99 under 50 ms)."""

    async def measure() -> tuple[list[float], list[int]]:
        async with service(tmp_path) as url:
            drawing = asyncio.create_task(draw(url, random.Random(SEED)))
            async with readers(url) as process:
                taken = await ask(url, SECONDS)
                seen, _ = await process.communicate(b"")
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
        return taken, json.loads(seen)

    taken, seen = asyncio.run(measure())
    p50, p99 = percentile(taken, 50), percentile(taken, 99)
    print(  # noqa: T201 - for whoever measures
        f"\n{len(taken)} answers: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {max(taken) * 1e3:.1f} ms;"
        f" {sum(seen)} events, {min(seen)} to {max(seen)} for each of {READERS} readers"
    )
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["p99"] = p99
    assert p99 < LIMIT_SECONDS
    assert min(seen) > 0.8 * max(seen), "everybody hears of everything"


def picture(rng: random.Random, side: int = 1024) -> Image.Image:
    """Return a picture with the detail of a drawn one: shapes on gradients, soft and hard edges, and grain."""
    base = Image.new("RGB", (side, side), tuple(rng.randrange(256) for _ in range(3)))
    for _ in range(60):
        shade = tuple(rng.randrange(256) for _ in range(3))
        patch = Image.linear_gradient("L").resize((rng.randint(16, side // 2), rng.randint(16, side // 2)))
        patch = patch.rotate(rng.randrange(360), expand=True)
        place = (rng.randrange(-100, side), rng.randrange(-100, side))
        base.paste(Image.new("RGB", patch.size, shade), place, patch)
    soft = base.filter(ImageFilter.GaussianBlur(1.5))
    grain = Image.effect_noise((side, side), 24).convert("RGB")
    return Image.blend(soft, grain, 0.08)


def test_the_first_load_of_a_grid(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """All bytes for a page with 24 tiles of 1024x1024 pictures (limit: 300 kB over the wire)."""

    async def measure() -> tuple[dict[str, int], int]:
        async with service(tmp_path) as url, aiohttp.ClientSession(url, auto_decompress=False) as session:
            for number in range(TILES):
                # The fake engine draws no larger ones; they are replaced below.
                body = {"key": f"bench-{number:08}", "prompt": "a lighthouse at dusk, oil on canvas", "size": "512x512"}
                async with session.post("/api/draw", json=body) as response:
                    assert response.status == 201, await response.text()
            async with asyncio.timeout(120):
                while count_thumbnails(tmp_path) < TILES * len(thumbnails.SIDES):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.1)
            originals = await asyncio.to_thread(put_detail, tmp_path)
            return await load(session), originals

    sizes, originals = asyncio.run(measure())
    total = sum(sizes.values())
    tiles = [size for name, size in sizes.items() if name.startswith("/thumbs/")]
    print(  # noqa: T201 - for whoever measures
        f"\n{total:,} bytes in {len(sizes)} answers: {sum(tiles):,} for {len(tiles)} tiles (largest {max(tiles):,}),"
        f" {sizes['/api/feed?limit=24']:,} for the feed, {sizes['/']:,} for the page; originals {originals:,}"
    )
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["bytes"] = total
    assert len(tiles) == TILES
    assert total < MOST_BYTES


def count_thumbnails(folder: Path) -> int:
    """Return how many thumbnails there are."""
    return len(list(folder.glob("thumbs/*.webp")))


def put_detail(folder: Path) -> int:
    """Replace the flat pictures of the fake engine, so that their thumbnails are made again; returns the bytes of all."""
    rng, total = random.Random(SEED), 0
    for path in sorted(folder.glob("pictures/*/*/*/*.png")):
        picture(rng).save(path)
        total += path.stat().st_size
    for path in folder.glob("thumbs/*.webp"):
        path.unlink()
    return total


async def load(session: aiohttp.ClientSession) -> dict[str, int]:
    """Fetch what a browser fetches for the grid; returns the bytes of each answer, headers included."""
    sizes: dict[str, int] = {}

    async def fetch(path: str) -> bytes:
        async with session.get(path, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.status == 200, path
            body = await response.read()
            sizes[path] = len(body) + sum(len(name) + len(value) + 4 for name, value in response.raw_headers)
            return body

    await fetch("/")
    await fetch("/static/easel.css")
    for name in sorted(modules("main.js")):
        await fetch(f"/static/{name}")
    await fetch("/api/info")
    async with session.get("/api/feed?limit=24", headers={"Accept-Encoding": "identity"}) as response:
        cards: list[dict[str, Any]] = (await response.json())["cards"]
    await fetch("/api/feed?limit=24")
    for card in cards:
        for shown in card["pictures"]:
            await fetch(shown["thumb"])
    return sizes


def modules(name: str) -> set[str]:
    """Return a script with all that it imports, directly or not, by name."""
    found, left = set[str](), [name]
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += re.findall(r'(?:from|import) "\./([\w.]+)"', (STATIC / one).read_text(encoding="utf-8"))
    return found


def test_thumbnails_are_quick(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Both thumbnails of a picture of 1024x1024 (limit: 0.5 s)."""
    path = tmp_path / "one.png"
    picture(random.Random(SEED)).save(path)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: [thumbnails.encode(path, side) for side in thumbnails.SIDES], rounds=10
    )
    assert benchmark.stats is not None
    assert benchmark.stats.stats.median < 0.5
