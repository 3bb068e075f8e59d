"""What marks cost a picture of 1024x1024 pixels: the file's texts, its signature, and those of its copies."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from adapters.cli.benchmark.png import SIDE, sample_pictures
from bot.core.file_marks import copied_marks
from bot.core.requests import DrawRequest
from bot.provenance.facts import MarkingRules
from bot.provenance.inspection import inspect
from bot.provenance.marks import Marker
from bot.settings import LabelPlace
from engine import contract
from engine.contract import Recipe
from engine.diffusion.png import png
from tests.bench.test_speed import measured
from tests.unit.bot.provenance.marked_files import MIMES, signs

pytestmark = [pytest.mark.bench, pytest.mark.timeout(120)]

MOST_MS = 10.0
"""Most that marking and signing may add to a picture, in milliseconds of a thread beside the loop."""

PROMPT = "a red apple on a table, 一个红苹果, " * 12


@pytest.fixture(scope="module")
def drawn() -> contract.Image:
    """The largest of the sample pictures, as the engine draws it."""
    files = [png(pixels) for pixels in sample_pictures().values()]
    return contract.Image("1:0", max(files, key=len), width=SIDE, height=SIDE, seconds=1.0)


def marking(
    drawn: contract.Image, *, signed: bool, source: Path | None = None, label: LabelPlace = LabelPlace.OFF
) -> Callable[[], bytes]:
    """Return what marks the picture once."""
    recipe = Recipe("1:0", "m", PROMPT, "blurry", SIDE, SIDE, 8, 2.0, 7, image=str(source or ""))
    request = DrawRequest(
        PROMPT, PROMPT, "blurry", SIDE, SIDE, 8, 2.0, 7, 1, "m", image="inputs/a.png" if source else ""
    )
    marker = Marker(lambda: (), MarkingRules(aigc_producer="P1", label=label), signs() if signed else None)
    return lambda: marker.mark(drawn, request, recipe, drawn_at=1_790_000_000.0)[0]


def milliseconds(
    benchmark: BenchmarkFixture, work: Callable[[], object], extra: Mapping[str, int], rounds: int = 40
) -> float:
    """Measure some work; returns the best round in milliseconds, since disturbances only make it slower."""
    measured(benchmark)(work, rounds=rounds, warmup_rounds=1)
    assert benchmark.stats is not None
    benchmark.extra_info.update(extra)
    return float(benchmark.stats.stats.min) * 1000


@pytest.mark.parametrize("signed", [False, True])
def test_marking(benchmark: BenchmarkFixture, drawn: contract.Image, signed: bool) -> None:
    """The file that is stored: A1111's text and XMP, with a signature and without."""
    work = marking(drawn, signed=signed)
    assert milliseconds(benchmark, work, {"bytes": len(drawn.data), "added": len(work()) - len(drawn.data)}) < MOST_MS


def test_marking_with_a_source(benchmark: BenchmarkFixture, drawn: contract.Image, tmp_path: Path) -> None:
    """The signature of a picture that was drawn from another one, which is hashed as well."""
    source = tmp_path / "source.png"
    source.write_bytes(drawn.data)
    work = marking(drawn, signed=True, source=source)
    milliseconds(benchmark, work, {"added": len(work()) - len(drawn.data)})


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_signing_a_copy(benchmark: BenchmarkFixture, drawn: contract.Image, kind: str) -> None:
    """A copy for a chat's limit, without the time of its encoder."""
    original, sealing = marking(drawn, signed=True)(), signs()
    assert sealing is not None
    with Image.open(io.BytesIO(original)) as opened:
        out = io.BytesIO()
        opened.convert("RGB").save(out, kind, quality=90, **copied_marks(opened.info))
    copy = out.getvalue()
    signed = sealing.sign_copy(copy, MIMES[kind], original)
    milliseconds(
        benchmark,
        lambda: sealing.sign_copy(copy, MIMES[kind], original),
        {"bytes": len(copy), "added": len(signed) - len(copy)},
    )


def test_the_visible_label(benchmark: BenchmarkFixture, drawn: contract.Image) -> None:
    """A label in the corner, for which the picture is decoded and encoded once more."""
    milliseconds(benchmark, marking(drawn, signed=False, label=LabelPlace.CORNER), {"bytes": len(drawn.data)}, rounds=5)


def test_inspecting(benchmark: BenchmarkFixture, drawn: contract.Image) -> None:
    """Reading the signed file and checking its signature."""
    data = marking(drawn, signed=True)()
    milliseconds(benchmark, lambda: inspect(data), {"bytes": len(data)})
