from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine import catalogue, models_file
from engine.contract import Capability, UnknownModel
from engine.hub import lockfile, pipelines
from engine.hub.errors import FetchError
from engine.hub.fetch import Pulled, pull
from engine.hub.needs import CONFIGS, ready
from tests.fakes.hub import COMMIT, Hub
from tests.unit.engine.hub.conftest import REPO, WEIGHTS, bytes_, write

NEWER = "f" * 40

KLEIN: Mapping[str, list[str]] = {
    "transformer": ["diffusers", "Flux2Transformer2DModel"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "vae": ["diffusers", "AutoencoderKLFlux2"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}


def repository(folder: Path, named: object = "Flux2KleinPipeline", parts: Mapping[str, object] = KLEIN) -> Path:
    """Write a repository with the small files of a pipeline, and something in place of its weights."""
    files = {"model_index.json": json.dumps({"_class_name": named, **parts, "is_distilled": True}).encode()}
    for part in parts:
        if part == "scheduler":
            files[f"{part}/scheduler_config.json"] = b"{}"
        elif part == "tokenizer":
            files[f"{part}/tokenizer_config.json"] = b"{}"
        else:
            files |= {f"{part}/config.json": b"{}", f"{part}/{WEIGHTS}": bytes_(10_000)}
    return write(folder, files)


@pytest.fixture
def klein(hub: Hub, tmp_path: Path) -> Hub:
    """A hub whose repository is built as FLUX.2 klein, under a name that Easel does not know."""
    hub.commits = {COMMIT: repository(tmp_path / "klein")}
    return hub


def pulled(models: str) -> Pulled:
    return pull(REPO, models, lambda done, total: None, check=pipelines.check, pause=lambda _: None)


def refused(models: str) -> str:
    with pytest.raises(FetchError) as caught:
        pulled(models)
    assert not caught.value.passing
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_files_of_a_pulled_pipeline_say_what_it_is(klein: Hub, models: str) -> None:
    assert pipelines.profile(REPO, models) is None
    assert klein.asked == []
    got = pulled(models)
    assert (got.revision, got.fetched // 10_000) == (COMMIT, 3)
    downloads = klein.downloads()
    assert len(downloads) == len(set(downloads))

    klein.down = True  # from now on nothing is asked
    profile = pipelines.profile(REPO, models)
    assert profile is not None
    assert (profile.name, profile.title, profile.source) == ("some-model", "some-model", REPO)
    assert (profile.family, profile.pipeline, profile.steps.default) == ("generic", "Flux2KleinPipeline", 4)
    assert profile.can == {Capability.EDIT, Capability.MASK}
    assert profile.licence == ""


def test_the_small_files_come_first_and_the_progress_counts_all(klein: Hub, models: str) -> None:
    said: list[tuple[int, int]] = []
    announced: list[tuple[int, int]] = []

    def check(repo: str, folder: Path) -> None:
        assert klein.asked_storage == []
        pipelines.check(repo, folder)

    pull(
        REPO,
        models,
        lambda done, total: said.append((done, total)),
        check=check,
        announce=lambda missing, total: announced.append((missing, total)),
    )
    ((missing, total),) = announced
    assert missing == 30_000
    assert said[-1] == (total, total)
    assert total == sum(path.stat().st_size for path in klein.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("named", "parts", "sentence"),
    [
        ("MyOwnPipeline", KLEIN, "'MyOwnPipeline', a class that diffusers"),
        (["pipeline.py", "Mine"], KLEIN, "needs code of its own for its pipeline"),
        (
            "Flux2KleinPipeline",
            dict(KLEIN, transformer=["transformer.py", "Mine"]),
            "needs code of its own for its transformer",
        ),
        ("WanPipeline", KLEIN, "it makes no pictures from prompts"),
        ("FluxPriorReduxPipeline", KLEIN, "can't be paused between two steps"),
        (
            "UniDiffuserPipeline",
            {
                **{
                    part: ["transformers", "CLIPVisionModelWithProjection"]
                    for part in ("image_encoder", "text_encoder", "text_decoder")
                },
                **{part: ["transformers", "CLIPTokenizer"] for part in ("clip_tokenizer", "text_tokenizer")},
                "clip_image_processor": ["transformers", "CLIPImageProcessor"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
                "scheduler": ["diffusers", "DDIMScheduler"],
            },
            "draws with its image_encoder, whose weights Easel does not fetch",
        ),
    ],
)
def test_what_can_not_be_drawn_with_is_refused_before_its_weights_come(
    hub: Hub, models: str, tmp_path: Path, named: object, parts: Mapping[str, object], sentence: str
) -> None:
    hub.commits = {COMMIT: repository(tmp_path / "other", named, parts)}
    said = refused(models)
    assert sentence in said
    assert said.startswith(f"The model {'in ' if REPO in said.split()[3:4] else ''}{REPO} ")
    assert str(tmp_path) not in said
    assert hub.asked_storage == []
    assert pipelines.profile(REPO, models) is None


def test_a_pipeline_of_pickles_is_refused_before_its_configs_come(klein: Hub, models: str) -> None:
    weights = klein.folder / "transformer" / WEIGHTS
    weights.rename(weights.with_suffix(".bin"))
    assert "part transformer has no safetensors" in refused(models)
    assert klein.downloads() == ["model_index.json"]


def test_the_commit_in_use_stays_where_the_newest_can_not_be_drawn_with(
    klein: Hub, models: str, tmp_path: Path
) -> None:
    pulled(models)
    klein.commits[NEWER] = repository(tmp_path / "newer", "WanPipeline")
    assert "makes no pictures" in refused(models)
    assert lockfile.pinned(REPO, models) == COMMIT
    assert pipelines.profile(REPO, models) is not None


def test_configs_alone_say_what_it_is_too(klein: Hub, models: str) -> None:
    pull(REPO, models, lambda done, total: None, selection=CONFIGS, check=pipelines.check)
    assert pipelines.profile(REPO, models) is None
    assert pipelines.profile(REPO, models, CONFIGS) is not None


def test_a_pulled_pipeline_is_the_default_and_that_for_edits_by_its_hub_id(klein: Hub, models: str) -> None:
    with pytest.raises(UnknownModel, match=rf"EASEL_MODEL is '{REPO}'.*run `easel model pull {REPO}` first"):
        catalogue.specs(REPO, models, "")
    with pytest.raises(UnknownModel, match=rf"EASEL_EDIT_MODEL is '{REPO}'.*run `easel model pull {REPO}` first"):
        catalogue.read_catalogue("demo", models, "", edit_model=REPO)
    assert klein.asked == []
    pulled(models)
    klein.down = True
    (spec,) = catalogue.specs(REPO, models, "")
    assert (spec.profile.source, spec.profile.pipeline) == (REPO, "Flux2KleinPipeline")
    assert ready(spec, models)
    found = catalogue.read_catalogue("demo", models, "", edit_model=REPO)
    assert (found.edit_model, [one.profile.name for one in found.specs]) == ("some-model", ["demo", "some-model"])


def test_a_table_of_a_pulled_pipeline_needs_no_like(klein: Hub, models: str, tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").touch()
    file = tmp_path / "models.toml"
    file.write_text(
        f'[mine]\nsource = "{REPO}"\ntitle = "Mine"\n[other]\ntransformer = "t.safetensors"\nbase = "{REPO}"\n'
    )
    before = models_file.read(file, models)
    assert before.specs == ()
    assert all(f"run `easel model pull {REPO}`, or say which of demo" in problem for problem in before.problems)
    pulled(models)
    found = models_file.read(file, models)
    assert found.problems == ()
    assert [(spec.profile.name, spec.folder, spec.profile.pipeline) for spec in found.specs] == [
        ("mine", REPO, "Flux2KleinPipeline"),
        ("other", REPO, "Flux2KleinPipeline"),
    ]
    file.write_text(f'[mine]\nsource = "{REPO}"\nlike = "sdxl"\n')
    (problem,) = models_file.read(file, models).problems
    assert problem.endswith(f"[mine], like: sdxl is of another family than {REPO}.")
