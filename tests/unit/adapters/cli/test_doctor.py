"""What the doctor says of the model, the operator's own ones included; the rest is looked at as it is run (tests/e2e)."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.cli import doctor, environment
from bot.maintenance import store
from bot.maintenance.store import Doubt
from bot.provenance.sealing import CHAIN, FOLDER, KEY
from bot.settings import LabelPlace, SealMode, Settings
from bot.storage.database import Database
from engine import catalogue
from engine.families.registry import known_models
from engine.spec import ModelSpec
from tests.fakes import upscalers
from tests.fakes.editing import EDITOR


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "one.gguf").touch()
    (tmp_path / "models.toml").write_text(
        '[mine]\ntransformer = "one.gguf"\nbase = "Tongyi-MAI/Z-Image-Turbo"\ntitle = "My own"\n'
        '[far]\nsource = "owner/far"\nlike = "sdxl"\n'
    )
    return Settings(data_dir=tmp_path)


def test_a_model_of_the_operators_own(settings: Settings) -> None:
    found = doctor.check_model(settings.model_copy(update={"model": "mine"}))
    assert found.ok
    assert found.found == f"My own ({settings.data_dir / 'one.gguf'})"


def test_one_that_is_still_on_the_hub(settings: Settings) -> None:
    found = doctor.check_model(settings.model_copy(update={"model": "far"}))
    assert found.ok
    assert "owner/far" in found.found


def test_the_model_for_edits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "known_models", lambda: (*known_models(), ModelSpec(EDITOR)))

    def said(named: str | None, model: str = "demo") -> tuple[bool, str] | None:
        found = doctor.check_edit_model(settings.model_copy(update={"model": model, "edit_model": named}))
        return None if found is None else (found.ok, found.found)

    assert said(None) is None
    assert said("editor") == (True, "The Editor, from the hub (owner/editor); downloaded when it first edits")
    for wrong, problem in {"nobody": "set EASEL_EDIT_MODEL to", "far": "can't edit pictures"}.items():
        found = said(wrong)
        assert found is not None
        assert not found[0]
        assert problem in found[1]
    # One sentence for one mistake: the model's own check says this one.
    assert said("editor", model="nobody") is None


def test_a_mistake_in_the_file_is_named(settings: Settings) -> None:
    assert doctor.check_models(settings) is None
    (settings.data_dir / "models.toml").write_text("[mine]\nsource = 3\n[other]\nsauce = 1\n")
    assert doctor.check_model(settings.model_copy(update={"model": "demo"})).ok
    for chosen in ("demo", "nobody/nothing"):
        found = doctor.check_models(settings.model_copy(update={"model": chosen}))
        assert found is not None
        assert not found.ok
        assert "models.toml, [mine], source: it must be a text" in found.found
        assert "models.toml, [other], sauce: there is no such key" in found.found
    found = doctor.check_model(settings.model_copy(update={"model": "mine"}))
    assert not found.ok
    assert "models.toml, [mine], source: it must be a text" in found.found


def test_an_upscaler_is_mentioned_where_one_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(path: Path | None) -> tuple[bool, str] | None:
        found = doctor.check_upscaler(settings.model_copy(update={"upscaler": path}))
        return None if found is None else (found.ok, found.found)

    path = settings.data_dir / "up.safetensors"
    assert said(None) is None
    assert said(path) == (False, f"EASEL_UPSCALER: The model's file {path} is not there.")
    upscalers.write(path)
    upscalers.put(monkeypatch)
    assert said(path) == (True, f"{path} enlarges pictures that are drawn again")
    found = doctor.check_upscaler(
        settings.model_copy(update={"upscaler": path}), "EASEL_UPSCALER: it enlarges nothing."
    )
    assert found == doctor.Finding("upscaler", False, "EASEL_UPSCALER: it enlarges nothing.")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    missing = said(path)
    assert missing is not None
    assert (missing[0], "pip install 'easel[upscale]'" in missing[1]) == (False, True)


def test_the_models_for_texts_are_mentioned_where_they_are_named(settings: Settings) -> None:
    assert doctor.check_texts(settings) is None
    folder = settings.data_dir / "writer"
    missing = doctor.check_texts(settings.model_copy(update={"text_model": str(folder)}))
    assert missing is not None
    assert not missing.ok
    assert missing.found.startswith("EASEL_TEXT_MODEL is ")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "model.safetensors").write_bytes(b"")
    found = doctor.check_texts(settings.model_copy(update={"text_model": str(folder), "caption_model": str(folder)}))
    assert found == doctor.Finding("texts", True, f"{folder}, {folder}: used for longer prompts and descriptions")


def test_the_engine_is_told_how_many_steps_are_guessed() -> None:
    given = Settings(_env_file=None), Settings(_env_file=None, step_cache=3)
    assert [environment.engine_config(one).step_cache for one in given] == [1, 3]


def test_the_engine_is_told_of_it_by_its_whole_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    told = [
        environment.engine_config(Settings(_env_file=None, upscaler=given)).upscaler
        for given in ("up.safetensors", " ")
    ]
    assert told == [str(tmp_path / "up.safetensors"), ""]


@pytest.mark.slow
async def test_the_upscaler_is_loaded_once_to_see_what_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = upscalers.folder(tmp_path / "library")
    with (library / "spandrel.py").open("a") as file:
        file.write("print('loaded')\n")
    monkeypatch.setenv("PYTHONPATH", str(library))

    async def said(path: Path | None) -> tuple[bool, str]:
        torch, (plan,), refused = await doctor.check_torch(
            settings.model_copy(update={"upscaler": path, "model": "demo"})
        )
        assert torch.ok
        return plan.ok, refused

    assert await said(upscalers.write(tmp_path / "up.safetensors")) == (True, "")
    none = upscalers.write(tmp_path / "none.safetensors", purpose="Restoration", scale=1)
    ok, refused = await said(none)
    assert ok
    assert refused.startswith(f"EASEL_UPSCALER: {none} enlarges nothing")


async def test_a_clock_that_is_doubted_is_named(settings: Settings) -> None:
    assert await doctor.check_clock(settings) is None
    async with await Database.open(settings.data_dir / environment.DATABASE) as db:
        for doubt, said in ((None, None), (Doubt(1_700_000_000.0, 60.0), "2023-11-14 22:13 UTC")):
            async with db.write() as tx:
                await store.write_clock(tx, 1_800_000_000.0, doubt)
            found = await doctor.check_clock(settings)
            if said is None:
                assert found is None
            else:
                assert found is not None
                assert (found.ok, said in found.found) == (False, True)


def test_what_files_say_and_whether_they_are_signed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor.check_provenance(settings)
    assert found.ok
    assert "public requests" in found.found
    assert "visible" not in found.found
    for changes, said in (
        ({"provenance_label": LabelPlace.CORNER}, "All of them have the visible label."),
        ({"provenance_aigc_producer": "P1"}, "EASEL_PROVENANCE_LABEL=corner"),
        ({"provenance_name": "Club Ink"}, "They name Club Ink, and no person, place or job."),
    ):
        assert said in doctor.check_provenance(settings.model_copy(update=changes)).found
    assert "easel provenance init" in found.found
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "easel[c2pa]" in doctor.check_provenance(settings).found
    wanted = doctor.check_provenance(settings.model_copy(update={"provenance_c2pa": SealMode.ON}))
    assert not wanted.ok
    assert "--force" in wanted.advice


def test_a_certificate_that_has_ended_is_a_finding(settings: Settings) -> None:
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from bot.provenance.signing_keys import new_signing_keys  # noqa: PLC0415 - of the optional package

    folder = settings.data_dir / FOLDER
    folder.mkdir()
    for begin, ok in ((datetime.now(UTC), True), (datetime.now(UTC) - timedelta(days=20 * 366), False)):
        keys = new_signing_keys("Club Ink", now=begin)
        (folder / CHAIN).write_bytes(keys.chain)
        (folder / KEY).write_bytes(keys.key)
        found = doctor.check_provenance(settings)
        assert (found.ok, "easel provenance init --force" in found.advice) == (ok, not ok)


def _plan_of(**found: object) -> doctor.Finding:
    return doctor._plan(doctor.DeviceCheck(**{"slot": "cuda:1", **found}))  # type: ignore[arg-type]  # as from JSON


def test_each_of_several_cards_has_a_line_of_its_own() -> None:
    fits = _plan_of(title="cuda:1 NVIDIA X", total=24 * 2**30, free=20 * 2**30, plan="Weights in bf16.")
    assert (fits.name, fits.ok) == ("cuda:1", True)
    assert fits.found == "NVIDIA X: 24.0 GB, of which 20.0 GB are free. Weights in bf16."
    small = _plan_of(title="cuda:1 NVIDIA X", total=2**30, free=2**30, unplanned="It does not fit.")
    assert (small.ok, "It does not fit." in small.found) == (False, True)
    gone = _plan_of(problem="PyTorch sees no such card here.")
    assert (gone.name, gone.ok, gone.found) == ("cuda:1", False, "PyTorch sees no such card here.")
