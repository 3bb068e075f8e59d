from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import families
from engine.families.batched import BatchedFamily
from engine.families.family import Family
from engine.families.registry import (
    DEMO,
    any_call,
    known_models,
    model_class,
    of_any_pipeline,
    of_pipeline,
    spec_of,
    specs,
)
from engine.families.spec import DENOISERS, FamilySpec

ROOT = Path(__file__).parents[4]
FOLDER = Path(families.__path__[0])


ARCHITECTURES = [name for name, spec in specs().items() if spec.describe is None]
"""The families of one architecture each."""


@pytest.fixture(params=ARCHITECTURES)
def spec(request: pytest.FixtureRequest) -> FamilySpec:
    return spec_of(request.param)


def test_every_folder_is_a_family() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/spec.py")}
    assert folders == set(specs()) == {path.parent.name for path in FOLDER.glob("*/model.py")}
    assert all(name == spec.name for name, spec in specs().items())


def test_families_are_listed_newest_first() -> None:
    released = [spec.released for spec in specs().values()]
    assert released == sorted(released, reverse=True)


def test_no_two_families_draw_the_same_pipeline() -> None:
    names = [name for spec in specs().values() for name in spec.pipelines]
    assert len(set(names)) == len(names)
    assert all(of_pipeline(name) is spec for spec in specs().values() for name in spec.pipelines)
    assert of_pipeline("FluxPipeline") is None


def test_one_family_draws_with_all_other_pipelines() -> None:
    assert [spec for spec in specs().values() if spec.describe is not None] == [of_any_pipeline()]
    assert any_call(of_any_pipeline().name)
    assert not any(map(any_call, ARCHITECTURES))
    assert issubclass(model_class(of_any_pipeline().name), Family)


def test_no_two_families_of_an_architecture_have_the_same_width() -> None:
    marks = [(spec.keys.pattern.pattern, spec.keys.width) for spec in specs().values()]
    assert len(set(marks)) == len(marks)


def test_a_spec_agrees_with_itself(spec: FamilySpec) -> None:
    assert spec.denoiser in DENOISERS
    assert spec.parts[spec.denoiser].weights
    assert len(spec.parts[spec.denoiser].classes) == 1, "a denoiser alone is loaded as this class"
    assert {name for name, part in spec.parts.items() if part.weights} == set(spec.footprint.parameters)
    assert spec.denoiser == next(iter(spec.lora_parts), spec.denoiser)
    assert set(spec.lora_parts) <= set(spec.parts)
    assert set(spec.schedulers) <= spec.parts["scheduler"].classes
    assert spec.native_side_key[0] in spec.parts
    assert spec.trained_multiple % spec.multiple == 0


def test_the_known_models_of_a_family_are_of_it(spec: FamilySpec) -> None:
    assert spec.models
    for profile in (model.profile for model in spec.models):
        assert (profile.family, profile.pipeline) == (spec.name, spec.pipelines[0])
        assert profile.multiple == spec.multiple
        assert set(profile.parameters) == set(spec.footprint.parameters)
        assert profile.scheduler in spec.schedulers or not profile.scheduler
    first = spec.models[0]
    assert (first.base, first.transformer) == ("", "")
    assert first.profile.side.default == spec.native_side
    assert dict(first.profile.parameters) == dict(spec.footprint.parameters)


def test_the_bundled_model_is_known_first() -> None:
    names = [model.profile.name for model in known_models()]
    assert names[0] == DEMO
    assert len(set(names)) == len(names)


def test_a_familys_class_is_loaded_with_its_module(spec: FamilySpec) -> None:
    found = model_class(spec.name)
    assert issubclass(found, BatchedFamily)
    assert found.spec is spec
    assert found.__module__ == f"{families.__name__}.{spec.name}.model"


def test_specs_need_no_torch() -> None:
    code = (
        "import sys; from engine.families import registry; registry.specs(); registry.known_models();"
        "sys.exit(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def _product_files() -> Iterator[Path]:
    for package in ("adapters", "bot", "engine", "migrations"):
        yield from (path for path in (ROOT / package).rglob("*.py") if not path.is_relative_to(FOLDER))


def test_no_family_is_named_outside_of_its_folder() -> None:
    named = {name for spec in specs().values() for name in (spec.name, *spec.pipelines)}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for path in _product_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in named
    ]
    assert found == []


def test_only_the_base_class_of_several_families_stands_beside_their_folders() -> None:
    for name in specs():
        text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
        assert f"families.{name}" not in text
