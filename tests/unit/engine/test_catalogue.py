from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine import catalogue, weights
from engine.contract import Capability, NegativePromptSupport, Profile, Recipe, UnknownModel
from engine.families.registry import any_call, known_models, of_pipeline, spec_of, specs
from engine.families.z_image.spec import demo
from engine.spec import ModelSpec
from tests.fakes import models
from tests.fakes.editing import EDITOR

KNOWN = [spec.profile for spec in known_models()]
BATCHED = [profile for profile in KNOWN if not any_call(profile.family)]


def test_demo_needs_no_network_and_is_here() -> None:
    profile = models.profile_for("demo")
    assert (Path(profile.source) / "model_index.json").is_file()
    assert profile.presets == {
        "square": (192, 192),
        "portrait": (160, 224),
        "landscape": (224, 160),
        "tall": (144, 256),
        "wide": (256, 144),
    }
    assert profile.negative is NegativePromptSupport.WITH_GUIDANCE


@pytest.mark.parametrize("name", ["Tongyi-MAI/Z-Image-Turbo", "tongyi-mai/z-image-turbo", "z-image-turbo"])
def test_turbo_by_its_hub_id_or_name(name: str) -> None:
    profile = models.profile_for(name)
    assert profile.title == "Z-Image-Turbo"
    assert (profile.steps.default, profile.guidance.high, profile.negative) == (8, 0.0, NegativePromptSupport.NEVER)


def test_only_text_encoders_with_the_vocabulary_of_a_language_model_write(tmp_path: Path) -> None:
    assert {profile.name for profile in KNOWN if profile.expands} == {"z-image-turbo", "z-image"}
    folder = models.copy(tmp_path / "z-image-turbo")
    assert not models.profile_for(str(folder)).expands
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 151_936}))
    assert models.profile_for(str(folder)).expands


@pytest.mark.parametrize("profile", KNOWN, ids=lambda p: p.name)
def test_presets_are_of_one_area_and_on_the_grid(profile: Profile) -> None:
    area = profile.side.default**2
    for width, height in profile.presets.values():
        assert width % profile.multiple == height % profile.multiple == 0
        assert width * height == pytest.approx(area, rel=0.05)
        assert profile.side.low <= min(width, height) <= max(width, height) <= profile.side.high


@pytest.mark.parametrize("profile", KNOWN, ids=lambda p: p.name)
def test_profiles_say_everything_and_agree_with_themselves(profile: Profile) -> None:
    for limits in (profile.side, profile.steps, profile.guidance):
        assert limits.low <= limits.default <= limits.high
    assert profile.side.low % profile.multiple == profile.side.high % profile.multiple == 0
    assert profile.licence
    assert profile.name == profile.name.lower()
    # Without guidance there is nothing that a negative prompt could be set against.
    assert profile.negative is NegativePromptSupport.NEVER or profile.guidance.high > 1
    assert not profile.negative_default or profile.negative is not NegativePromptSupport.NEVER
    assert (Capability.EDIT in profile.can) == bool(profile.references)
    assert not profile.needs_reference or profile.references


@pytest.mark.parametrize("profile", BATCHED, ids=lambda p: p.name)
def test_profiles_agree_with_their_family(profile: Profile) -> None:
    family = spec_of(profile.family)
    assert family.pipelines[0] == profile.pipeline
    assert {"vae", "text_encoder"} < set(profile.parameters) < set(family.parts)
    assert (profile.negative is NegativePromptSupport.NEVER) == (profile.guidance.high <= 1)
    assert profile.scheduler in ("", *family.schedulers)
    assert bool(profile.scheduler) == bool(family.schedulers)
    assert profile.prompt_tokens == (512 if profile.family == "z_image" else 300)
    assert profile.languages == (("en", "zh") if profile.family == "z_image" else ("en",))


def test_names_are_unique() -> None:
    assert len({p.name for p in KNOWN}) == len({p.source for p in KNOWN}) == len(KNOWN)


def test_the_bundled_models_parameters_are_its_files() -> None:
    folder = Path(demo().source)
    assert {part: weights.parameters(folder / part) for part in demo().parameters} == dict(demo().parameters)


def test_what_each_model_is_drawn_with() -> None:
    found = {p.name: (p.steps.default, p.guidance.default, p.side.default) for p in BATCHED}
    assert found == {
        "demo": (8, 0.0, 192),
        "z-image-turbo": (8, 0.0, 1024),
        "z-image": (28, 4.0, 1024),
        "sdxl": (30, 5.0, 1024),
        "sdxl-turbo": (4, 0.0, 512),
        "sdxl-lightning": (4, 0.0, 1024),
        "illustrious-xl": (28, 6.0, 1024),
        "noobai-xl": (28, 5.0, 1024),
        "pony-xl": (25, 7.0, 1024),
        "sd15": (25, 7.5, 512),
    }
    assert next(p for p in KNOWN if p.name == "sdxl").presets["wide"] == (1344, 768)


def test_a_folder_says_its_own_size(tmp_path: Path) -> None:
    profile = models.profile_for(str(models.copy(tmp_path / "My Model!")))
    assert (profile.name, profile.title, profile.family) == ("my-model", "My Model!", "z_image")
    assert (profile.side.low, profile.side.default, profile.side.high) == (96, 192, 384)
    assert Path(profile.source).is_absolute()


def test_a_strange_size_is_not_believed(tmp_path: Path) -> None:
    folder = models.copy(tmp_path / "model")
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": "huge"}))
    assert models.profile_for(str(folder)).side.default == 1024


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"'nosuch'.*demo, Tongyi-MAI/Z-Image-Turbo.*models\.toml\.$"):
        models.profile_for("nosuch")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"holds no model_index\.json"):
        models.profile_for(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "\udc80", '{"a": ' + "[" * 50_000])
def test_a_damaged_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UnknownModel, match=r"model_index\.json.*copy the model again"):
        models.profile_for(str(tmp_path))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    folder = models.copy(tmp_path / "model")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    (folder / "tokenizer").rmdir()
    with pytest.raises(UnknownModel, match="'tokenizer' is missing"):
        models.profile_for(str(folder))


@pytest.mark.parametrize(("side", "expected"), [(0, 8), (64, 8), (192, 8), (512, 4), (768, 1), (1024, 1), (4096, 1)])
def test_how_many_are_worth_drawing_together(side: int, expected: int) -> None:
    assert catalogue.batch(Recipe("a", "demo", "", "", side, side, 8, 0.0, 0)) == expected


def folder_of(tmp_path: Path, kind: str, **unet: object) -> Path:
    """Write the small files of a pipeline's folder, as far as its profile is read from them."""
    family = of_pipeline(kind)
    assert family is not None
    parts = {name: [part.library, min(part.classes)] for name, part in family.parts.items()}
    tmp_path.mkdir(parents=True, exist_ok=True)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind, "safety_checker": ["x", "y"]} | parts))
    for part in parts:
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}")
    if "unet" in parts:
        (tmp_path / "unet" / "config.json").write_text(json.dumps({"sample_size": 128, "in_channels": 4} | unet))
        (tmp_path / "vae" / "config.json").write_text(json.dumps({"block_out_channels": [1, 2, 3, 4]}))
    return tmp_path


@pytest.mark.parametrize("kind", [name for spec in specs().values() for name in spec.pipelines])
def test_a_folder_of_every_class(tmp_path: Path, kind: str) -> None:
    spec = of_pipeline(kind)
    assert spec is not None
    profile = models.profile_for(str(folder_of(tmp_path / "mine", kind)))
    assert (profile.family, profile.pipeline, profile.side.default) == (spec.name, kind, 1024)
    assert (profile.guidance.low, profile.negative, profile.licence) == (0.0, NegativePromptSupport.WITH_GUIDANCE, "")


def test_a_unet_says_its_size(tmp_path: Path) -> None:
    profile = models.profile_for(str(folder_of(tmp_path / "mine", "StableDiffusionPipeline", sample_size=64)))
    assert (profile.side.low, profile.side.default, profile.side.high) == (256, 512, 1024)
    assert profile.presets["wide"] == (704, 384)


@pytest.mark.parametrize("name", ["sdxl-turbo", "SDXL-Turbo"])
def test_a_folder_that_bears_a_known_name_has_its_defaults(tmp_path: Path, name: str) -> None:
    profile = models.profile_for(str(folder_of(tmp_path / name, "StableDiffusionXLPipeline")))
    assert (profile.name, profile.steps.high, profile.negative) == ("sdxl-turbo", 4, NegativePromptSupport.NEVER)
    assert profile.source == str(tmp_path / name)
    assert profile.side.default == 1024  # what its files say goes before what its name says
    # The name alone makes no Z-Image of it.
    other = models.profile_for(str(folder_of(tmp_path / "z-image", "StableDiffusionXLPipeline")))
    assert other.family == "sdxl"


def test_a_unet_for_inpainting_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", "StableDiffusionInpaintPipeline", in_channels=9)
    with pytest.raises(UnknownModel, match="UNet of 9 channels"):
        models.profile_for(str(folder))


def test_a_refiner_is_no_whole_pipeline(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", "StableDiffusionXLImg2ImgPipeline")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"text_encoder": [None, None]}))
    with pytest.raises(UnknownModel, match="names no text_encoder"):
        models.profile_for(str(folder))


def test_a_folder_that_wants_code(tmp_path: Path) -> None:
    folder = models.coded(tmp_path / "mine", tmp_path / "sprung")
    with pytest.raises(UnknownModel, match=r"scheduler.*\(trap\.Trap\).*runs no code"):
        models.profile_for(str(folder))


@pytest.mark.parametrize(
    ("kind", "part", "named"),
    [
        ("StableDiffusionXLPipeline", "unet", ["diffusers", "DiffusionPipeline"]),
        ("StableDiffusionXLPipeline", "text_encoder_2", ["transformers", "CLIPTextModel"]),
        ("StableDiffusionXLPipeline", "vae", ["transformers", "AutoencoderKL"]),
        ("StableDiffusionPipeline", "scheduler", ["diffusers", "StableDiffusionPipeline"]),
        ("StableDiffusionPipeline", "tokenizer", ["transformers", "pipeline"]),
        ("ZImagePipeline", "transformer", ["diffusers", "FluxTransformer2DModel"]),
        ("ZImagePipeline", "text_encoder", ["transformers", "AutoModel"]),
    ],
)
def test_a_part_of_another_class(tmp_path: Path, kind: str, part: str, named: list[str]) -> None:
    folder = folder_of(tmp_path / "mine", kind)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {part: named}))
    with pytest.raises(UnknownModel, match=rf"has a {'.'.join(named)} as its {part}, which Easel can't draw with"):
        models.profile_for(str(folder))


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "vae/config.json"])
def test_a_config_that_is_no_file(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path / "mine", "StableDiffusionPipeline")
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (folder / name).unlink()
        make(folder / name)
        with pytest.raises(UnknownModel, match=r"can't be read \(it is no regular file\)"):
            models.profile_for(str(folder))


def names(found: tuple[ModelSpec, ...]) -> list[str]:
    return [spec.profile.name for spec in found]


def here(*there: str) -> catalogue.Ready:
    return lambda spec, _: spec.profile.name in there


def test_the_default_is_first_then_the_operators_own_then_what_is_here(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[anime]\nsource = "a/b"\nlike = "sdxl"\n[sd15]\nsource = "c/d"\nlike = "sd15"\n')
    found = catalogue.specs("z-image", "m", str(file), here("demo", "z-image", "sd15", "sdxl-lightning"))
    assert names(found) == ["z-image", "anime", "sd15", "sdxl-lightning"]
    assert found[2].profile.source == "c/d"
    lightning = found[3]
    assert lightning.base == "stabilityai/stable-diffusion-xl-base-1.0"
    assert lightning.transformer == "ByteDance/SDXL-Lightning/sdxl_lightning_4step_unet.safetensors"


def test_the_default_may_be_the_operators_own(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[one]\nsource = "a/b"\nlike = "sdxl"\n[sdxl]\nsource = "c/d"\nlike = "sdxl"\n')
    found = catalogue.specs("sdxl", "m", str(file))
    assert names(found) == ["sdxl", "one"]
    assert found[0].profile.source == "c/d"


def test_without_a_file_and_without_models_there_is_the_default() -> None:
    assert names(catalogue.specs("demo", "m", "")) == ["demo"]
    assert names(catalogue.specs("demo", "m", "/no/such/models.toml", here())) == ["demo"]


def test_two_models_of_one_name(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[mine]\nsource = "a/b"\nlike = "sdxl"\n[other]\nsource = "c/d"\nlike = "sdxl"\n')
    folder = str(folder_of(tmp_path / "mine", "ZImagePipeline"))
    found = catalogue.read_catalogue(folder, "m", str(file))
    assert names(found.specs) == ["mine", "other"]
    assert found.specs[0].profile.source == folder
    (problem,) = found.problems
    assert "[mine]: the name is taken by EASEL_MODEL" in problem


def test_a_bad_table_is_left_out_and_loud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "models.toml"
    good = '[fine]\nsource = "a/b"\nlike = "sdxl"\n'
    file.write_text(f'{good}[sdxl]\nsauce = "c/d"\n[demo]\nsource = 3\n')
    for chosen, expected in {"demo": ["demo", "fine"], "fine": ["fine"], "sd15": ["sd15", "fine"]}.items():
        caplog.clear()
        # The known model does not come in place of the operator's own that bears its name.
        assert names(catalogue.specs(chosen, "m", str(file), here("sdxl"))) == expected
        assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
        assert "[sdxl], sauce: there is no such key" in caplog.text
    with pytest.raises(UnknownModel, match=r"\[sdxl\], sauce: there is no such key"):
        catalogue.specs("sdxl", "m", str(file))


@pytest.mark.parametrize("text", ["[mine", "source = \xff"])
def test_a_file_that_is_no_toml(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text, encoding="latin-1")
    assert names(catalogue.specs("demo", "m", str(file))) == ["demo"]
    assert "can't be read as TOML" in caplog.text
    with pytest.raises(UnknownModel, match=r"no model 'mine'.*can't be read as TOML"):
        catalogue.specs("mine", "m", str(file))


def test_an_unknown_default_is_refused_with_the_operators_own_names(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[anime]\nsource = "a/b"\nlike = "sdxl"\n')
    with pytest.raises(UnknownModel, match="There is no model 'animee': set EASEL_MODEL to anime, demo"):
        catalogue.specs("animee", "m", str(file))


@pytest.fixture
def with_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known model that edits, and none of its files on this disk."""
    monkeypatch.setattr(catalogue, "known_models", lambda: (*known_models(), ModelSpec(EDITOR)))


@pytest.mark.usefixtures("with_editor")
def test_the_model_for_edits_is_offered_though_it_is_not_here(tmp_path: Path) -> None:
    found = catalogue.read_catalogue("z-image", "m", "", here("sdxl"), edit_model="owner/editor")
    assert (names(found.specs), found.edit_model) == (["z-image", "editor", "sdxl"], "editor")
    found = catalogue.read_catalogue("editor", "m", "", here(), edit_model="editor")
    assert (names(found.specs), found.edit_model) == (["editor"], "editor")
    assert catalogue.read_catalogue("z-image", "m", "", here()).edit_model == ""
    file = tmp_path / "models.toml"
    file.write_text('[editor]\nsource = "a/b"\nlike = "sdxl"\n')
    found = catalogue.read_catalogue("z-image", "m", str(file), here(), edit_model="owner/editor")
    assert names(found.specs) == ["z-image", "editor"]
    assert "[editor]: the name is taken by EASEL_EDIT_MODEL" in found.problems[0]


@pytest.mark.usefixtures("with_editor")
@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("editer", "There is no model 'editer': set EASEL_EDIT_MODEL to .*owner/editor, to a folder"),
        ("sdxl", "EASEL_EDIT_MODEL is 'sdxl', and .* can't edit pictures; set it to one that can: .*editor"),
    ],
)
def test_a_wrong_model_for_edits_is_refused(named: str, problem: str) -> None:
    with pytest.raises(UnknownModel, match=problem):
        catalogue.read_catalogue("demo", "m", "", edit_model=named)


@pytest.mark.usefixtures("with_editor")
def test_a_model_for_edits_must_not_share_the_name_of_the_default(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "editor", "ZImagePipeline")
    with pytest.raises(UnknownModel, match="EASEL_MODEL has another model of the name 'editor'"):
        catalogue.read_catalogue(str(folder), "m", "", edit_model="owner/editor")
