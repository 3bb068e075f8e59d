"""The PNG of a picture of 1024x1024 pixels, compared with Pillow's default on the same core."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from adapters.cli.benchmark.png import measure_png, sample_pictures
from engine.diffusion.png import png
from tests.bench.test_speed import measured

pytestmark = [pytest.mark.bench, pytest.mark.timeout(120)]

PICTURES = sample_pictures()


@pytest.mark.parametrize("name", PICTURES)
def test_png(benchmark: BenchmarkFixture, name: str) -> None:
    """A fourth of Pillow's time at most, at about the same size."""
    pixels = PICTURES[name]
    measured(benchmark)(lambda: png(pixels), rounds=5, warmup_rounds=1)
    found = measure_png(pixels)
    benchmark.extra_info.update(asdict(found))
    assert found.ms < found.pillow_ms / 4
    assert found.size < found.pillow_size * 1.05
