"""Pipelines of many classes through `easel serve`: its engine's process, its page and the pictures that it stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.e2e.service import Service
from tests.e2e.web.browser import Browser
from tests.e2e.web.test_source_image import draw
from tests.fakes.small_pipelines import SMALL_PIPELINES
from tests.fakes.small_pipelines.plain import drawn_plainly, load_plainly

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

TABLE = '[{model}]\nsource = "{folder}"\nsize = 64\nsteps = 2\n'
PROMPT, SEED = "a red cat", 5

USED = {name: small for name, small in SMALL_PIPELINES.items() if not small.package and name != "HiDreamImagePipeline"}
"""All but those that need an extra, and HiDream, whose picture always has 16,384 latents: seconds on a CPU."""

DRAWING = [name for name, small in USED.items() if not small.needs_reference]
EDITING = {name: min(2, small.references) for name, small in USED.items() if small.references}
"""How many references each class edits here."""


def model_of(name: str) -> str:
    return name.removesuffix("Pipeline").lower()


def reference(number: int) -> Image.Image:
    picture = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 30).convert("RGB")
    return picture.rotate(90 * number)


def png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def pixels(file: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(file)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose models.toml names a folder of each class."""
    one = Service(tmp_path_factory.mktemp("service"), {"EASEL_MODEL": model_of(DRAWING[0]), "EASEL_QUOTA": "unlimited"})
    one.data.mkdir(parents=True)
    tables = [
        TABLE.format(model=model_of(name), folder=small.build(one.folder / name, 0)) for name, small in USED.items()
    ]
    (one.data / "models.toml").write_text("\n".join(tables))
    one.start()
    yield one
    one.end()


def form(name: str) -> dict[str, str]:
    guidance = {"guidance": "3"} if USED[name].guidance else {}
    return {"model": model_of(name), "size": "64x64", "seed": str(SEED), **guidance}


@pytest.fixture(scope="module")
def drawn(service: Service) -> Callable[[str], int]:
    """Jobs of all classes, which wait in one queue."""
    return {name: service.draw(PROMPT, **form(name)) for name in DRAWING}.__getitem__


@pytest.fixture(scope="module")
def edited(service: Service) -> Callable[[str], int]:
    """Edits of all classes that edit."""
    return {
        name: service.edit(PROMPT, [png(reference(i)) for i in range(count)], **form(name))
        for name, count in EDITING.items()
    }.__getitem__


def stored(service: Service, job: int) -> NDArray[np.uint8]:
    card = service.finished(job)
    assert card["tone"] == "done", card
    return pixels(service.get(f"/pictures/{job}/0.png"))


def plain(service: Service, name: str, references: int = 0) -> NDArray[np.uint8]:
    pipe = load_plainly(service.folder / name, USED[name])
    given = [reference(i) for i in range(references)]
    found = drawn_plainly(pipe, USED[name], PROMPT, steps=2, seed=SEED, references=given)
    return (found * 255).round().astype(np.uint8)


@pytest.mark.parametrize("name", DRAWING)
def test_its_stored_picture_is_that_of_the_plain_call(service: Service, drawn: Callable[[str], int], name: str) -> None:
    assert np.array_equal(stored(service, drawn(name)), plain(service, name))


@pytest.mark.parametrize("name", EDITING)
def test_its_stored_edit_is_that_of_the_plain_call(service: Service, edited: Callable[[str], int], name: str) -> None:
    assert np.array_equal(stored(service, edited(name)), plain(service, name, EDITING[name]))


@pytest.mark.browser
def test_a_person_draws_and_edits_with_klein_on_the_page(service: Service, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for number, file in enumerate(files):
        file.write_bytes(png(reference(number)))
    browser = Browser(tmp_path)
    try:
        browser.open(service.url)
        browser.choose("model", model_of("Flux2KleinPipeline"))
        browser.chip("more")
        browser.write("seed", str(SEED))
        made = draw(browser, PROMPT)
        assert np.array_equal(stored(service, made), plain(service, "Flux2KleinPipeline"))
        browser.one("#references").send_keys("\n".join(map(str, files)))
        browser.until(lambda: len(browser.all(".reference-name")) == 2, "both references")
        made = draw(browser, PROMPT)
        assert np.array_equal(stored(service, made), plain(service, "Flux2KleinPipeline", 2))
        assert browser.complaints() == []
    finally:
        browser.close()
