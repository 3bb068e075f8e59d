from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.contract import NegativePromptSupport, Range
from engine.families.registry import known_models
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl_turbo
from engine.families.unet_spec import SCHEDULERS
from engine.families.z_image.spec import z_image_turbo
from engine.hub.needs import WITHOUT_DENOISER, needs
from engine.models_file import KEYS, ModelsFile, read
from engine.spec import Lora, ModelSpec
from tests.unit.engine.test_catalogue import folder_of

DOCS = Path(__file__).parents[3] / "docs" / "models.md"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write models.toml beside some files that it may name."""
    for name in ("one.safetensors", "lora.safetensors", "sub/two.safetensors", "q4.gguf", "old.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder_of(tmp_path / "xl", "StableDiffusionXLPipeline")

    def written(text: str) -> Path:
        path = tmp_path / "models.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def one(path: Path) -> ModelSpec:
    read_file = read(path)
    assert read_file.problems == ()
    (found,) = read_file.specs
    return found


def test_there_need_be_no_file(tmp_path: Path) -> None:
    assert read(tmp_path / "models.toml") == ModelsFile()


def test_a_hub_id_that_is_like_a_known_model(write: Write) -> None:
    found = one(write('[mine]\nsource = "owner/model"\nlike = "sdxl-turbo"\ntitle = "Mine"\nlicence = "MIT"'))
    expected = replace(sdxl_turbo(), name="mine", title="Mine", source="owner/model", licence="MIT", licence_terms=())
    assert found == ModelSpec(expected)


def test_a_known_hub_id_is_like_itself(write: Write) -> None:
    found = one(write('[mine]\nsource = "Tongyi-MAI/Z-Image-Turbo"\nloras = ["lora.safetensors"]'))
    assert (found.profile.family, found.profile.steps) == ("z_image", z_image_turbo().steps)
    assert (found.profile.title, found.profile.licence) == ("mine", "")


def test_a_folder_is_read(write: Write, tmp_path: Path) -> None:
    found = one(write('[mine]\nsource = "xl"\n')).profile
    assert (found.source, found.family, found.name) == (str(tmp_path / "xl"), "sdxl", "mine")
    assert one(write('[mine]\nsource = "xl"\nlike = "sdxl-turbo"')).profile.negative is NegativePromptSupport.NEVER


def test_a_single_file_over_its_base(write: Write, tmp_path: Path) -> None:
    found = one(write('[mine]\nsource = "sub/two.safetensors"\nbase = "xl"\n'))
    assert found.single_file == found.profile.source == str(tmp_path / "sub" / "two.safetensors")
    assert (found.base, found.folder) == (str(tmp_path / "xl"),) * 2


def test_files_on_the_hub(write: Write) -> None:
    found = one(
        write(
            '[mine]\nsource = "a/b/c.safetensors"\nbase = "d/e"\nlike = "sd15"\n'
            'loras = [{ source = "f/g/h/i.safetensors", weight = 0.5 }]'
        )
    )
    assert (found.single_file, found.base) == ("a/b/c.safetensors", "d/e")
    assert found.loras == (Lora("f/g/h/i.safetensors", 0.5),)


def test_of_a_single_file_for_a_class_without_a_family_the_denoiser_is_taken(write: Write, tmp_path: Path) -> None:
    found = one(write('[mine]\nsource = "one.safetensors"\nbase = "Qwen/Qwen-Image"\n'))
    path = str(tmp_path / "one.safetensors")
    assert (found.profile.source, found.transformer, found.single_file) == (path, path, "")
    assert [(need.source, need.selection) for need in needs(found)] == [("Qwen/Qwen-Image", WITHOUT_DENOISER)]
    hub = one(write('[mine]\nsource = "a/b/c.safetensors"\nbase = "d/e"\nlike = "flux2-klein"\n'))
    assert [need.source for need in needs(hub)] == ["d/e", "a/b/c.safetensors"]


@pytest.mark.parametrize("key", ["base", "source"])
def test_a_transformer_alone(write: Write, tmp_path: Path, key: str) -> None:
    found = one(write(f'[mine]\ntransformer = "q4.gguf"\n{key} = "Tongyi-MAI/Z-Image-Turbo"'))
    assert (found.transformer, found.folder) == (str(tmp_path / "q4.gguf"), "Tongyi-MAI/Z-Image-Turbo")
    assert found.single_file == ""
    assert found.profile.family == "z_image"


def test_a_link_keeps_its_name_since_a_hubs_cache_links_names_to_content(write: Write, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "q4.gguf").rename(tmp_path / "blobs" / "0123abcd")
    (tmp_path / "q4.gguf").symlink_to("blobs/0123abcd")
    found = one(write('[mine]\ntransformer = "sub/../q4.gguf"\nbase = "Tongyi-MAI/Z-Image-Turbo"'))
    assert found.transformer == str(tmp_path / "q4.gguf")


def test_loras_in_their_order(write: Write, tmp_path: Path) -> None:
    found = one(
        write('[mine]\nsource = "xl"\nloras = ["lora.safetensors", {source = "one.safetensors", weight = -0.5}]')
    )
    assert found.loras == (Lora(str(tmp_path / "lora.safetensors")), Lora(str(tmp_path / "one.safetensors"), -0.5))


def test_steps_and_guidance(write: Write) -> None:
    def profile(text: str) -> tuple[Range[int], Range[float], NegativePromptSupport]:
        found = one(write(f'[mine]\nsource = "a/b"\nlike = "sdxl"\n{text}')).profile
        return found.steps, found.guidance, found.negative

    with_it = NegativePromptSupport.WITH_GUIDANCE
    assert profile("steps = 12\nguidance = 4") == (Range(12, 1, 100), Range(4.0, 1.0, 20.0), with_it)
    assert profile("steps = 200")[0] == Range(200, 1, 200)
    assert profile("steps = { default = 6, low = 4, high = 8 }")[0] == Range(6, 4, 8)
    # Where guidance can't be more than 1, nothing is set against the negative prompt.
    assert profile("guidance = { default = 0, low = 0, high = 1 }")[1:] == (
        Range(0.0, 0.0, 1.0),
        NegativePromptSupport.NEVER,
    )


def test_size_negative_languages_and_scheduler(write: Write) -> None:
    found = one(
        write(
            '[mine]\nsource = "a/b"\nlike = "sd15"\nsize = 768\nnegative = "mud"\nlanguages = ["EN", "ja"]\n'
            'scheduler = "DPMSolverMultistepScheduler"\nscheduler_config = { use_karras_sigmas = true }'
        )
    ).profile
    assert (found.side, found.presets["square"]) == (Range(768, 384, 1536), (768, 768))
    assert (found.negative_default, found.languages) == ("mud", ("en", "ja"))
    assert (found.scheduler, found.scheduler_config) == ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True})
    assert one(write('[mine]\nsource = "a/b"\nlike = "sd15"')).profile.negative_default == sd15().negative_default
    bare = one(write('[mine]\nsource = "a/b"\nlike = "sd15"\nguidance = { default = 0, low = 0, high = 0 }')).profile
    assert bare.negative_default == ""


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('source = "a/b"\nlike = "sdxl"\nstpes = 3', "stpes", "no such key; there are base, clip_skip, guidance"),
        ("", "source", "must name a hub id"),
        ("source = 3", "source", "a text in quotes"),
        ('source = "nowhere"', "source", "'nowhere' is neither a hub id (owner/name) nor a folder that is there"),
        ('source = "sub"', "source", "holds no model_index.json"),
        ('source = "a/b"', "like", "say which of demo, z-image-turbo"),
        ('source = "a/b"\nlike = "flux"', "like", "no model 'flux'; there are demo"),
        ('source = "xl"\nlike = "sd15"', "like", "sd15 is of another family"),
        ('source = "old.ckpt"\nbase = "xl"', "source", "is a pickle, which can run code"),
        ('source = "gone.safetensors"\nbase = "xl"', "source", "there is no file /"),
        ('source = "one.safetensors"\nlike = "sdxl"', "base", "such as stabilityai/stable-diffusion-xl-base-1.0"),
        ('source = "one.safetensors"', "base", "a hub id or a folder"),
        ('source = "q4.gguf"\nbase = "xl"', "source", "must end in .safetensors"),
        ('source = "a/b"\nbase = "xl"\nlike = "sdxl"', "base", "only a single file or a transformer alone"),
        ('transformer = "q4.gguf"\nlike = "z-image"', "base", "needs the pipeline that it goes into"),
        ('transformer = "old.ckpt"\nbase = "xl"', "transformer", "is a pickle"),
        ('transformer = "xl"\nbase = "xl"', "transformer", "must end in .safetensors or .gguf"),
        ('source = "one.safetensors"\nbase = "a/b"\nlike = "z-image"', "source", "give its transformer as transformer"),
        ('source = "xl"\nloras = "lora.safetensors"', "loras", "must be a list"),
        ('source = "xl"\nloras = [{ weight = 1 }]', "loras", "each must have a source"),
        ('source = "xl"\nloras = [{ source = "lora.safetensors", wieght = 1 }]', "loras", "each must have a source"),
        ('source = "xl"\nloras = [{ source = "lora.safetensors", weight = "1" }]', "loras", "from -4 to 4, not '1'"),
        ('source = "xl"\nloras = [{ source = "lora.safetensors", weight = nan }]', "loras", "from -4 to 4"),
        ('source = "xl"\nloras = [{ source = 3 }]', "loras", "a text in quotes"),
        ('source = "xl"\nloras = ["old.ckpt"]', "loras", "is a pickle"),
        ('source = "xl"\nsize = 20', "size", "64 to 4096 pixels, not 20"),
        ('source = "xl"\nsize = true', "size", "64 to 4096 pixels, not True"),
        ('source = "xl"\ntitle = ["x"]', "title", "a text in quotes"),
        ('source = "xl"\nlanguages = ["en-GB"]', "languages", '["en", "zh"]'),
        ('source = "xl"\nloras = [{ source = "" }]', "loras", "each must have a source"),
        ('source = "xl"\nloras = [{ source = "lora.safetensors", weight = true }]', "loras", "from -4 to 4, not True"),
        ('source = "xl"\nsteps = 30.0', "steps", "whole numbers"),
        ('source = "xl"\nsteps = { default = 9, low = 1, high = 40, most = 50 }', "steps", "must be a number or {"),
        ('source = "xl"\nsteps = 0', "steps", "1 to 1000"),
        ('source = "xl"\nsteps = 2.5', "steps", "whole numbers"),
        ('source = "xl"\nsteps = inf', "steps", "must be a number or { default = "),
        ('source = "xl"\nguidance = -inf', "guidance", "must be a number or { default = "),
        ('source = "xl"\nsteps = 1979-05-27', "steps", "must be a number or { default = "),
        ('source = "xl"\nsteps = true', "steps", "must be a number or { default = "),
        ('source = "xl"\nsteps = { default = 9, low = 1, high = 4 }', "steps", "between low and high"),
        ('source = "xl"\nguidance = { default = 9 }', "guidance", "must be a number or"),
        ('source = "xl"\nguidance = -1', "guidance", "0 to 100"),
        ('source = "a/b"\nlike = "sdxl-turbo"\nnegative = "mud"', "negative", "draws without guidance"),
        ('source = "xl"\nlanguages = []', "languages", '["en", "zh"]'),
        ('source = "xl"\nscheduler = "Euler"', "scheduler", "no 'Euler'; there are EulerDiscreteScheduler"),
        ('source = "xl"\nwho = []', "who", 'it must be "everyone", "admins" or a list of roles'),
        ('source = "xl"\nclip_skip = 13', "clip_skip", "it is 1 to 12, as A1111 counts, not 13"),
        ('source = "a/b"\nlike = "z-image"\nclip_skip = 2', "clip_skip", "Z-Image has no CLIP text encoder"),
        ('source = "xl"\nscheduler_config = { a = [1] }', "scheduler_config", "texts, numbers and true or false"),
        ('source = "a/b"\nlike = "z-image"\nscheduler = "DDIMScheduler"', "scheduler", "with its own scheduler"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_table_and_key(write: Write, text: str, key: str, expected: str) -> None:
    path = write(f'[fine]\nsource = "xl"\n[mine]\n{text}\n[also]\nsource = "xl"\n')
    found = read(path)
    assert [spec.profile.name for spec in found.specs] == ["fine", "also"]
    assert list(found.rejected) == ["mine"]
    said = found.rejected["mine"]
    assert said.startswith(f"{path}, [mine], {key}: ")
    assert expected in said
    assert re.fullmatch(r"[^\n]+[^.]\.", said)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[mine", "can't be read as TOML"),
        ('[mine]\nsource = "a/b"\n[mine]\n', "can't be read as TOML"),
        ('source = "a/b"', "'source' stands outside of a table"),
        ('["My Model"]\nsource = "a/b"', "[My Model]: a model's name is up to 40 lower-case"),
        ('["../x"]\nsource = "a/b"', "since people type it"),
    ],
)
def test_a_file_that_makes_no_sense(write: Write, text: str, expected: str) -> None:
    path = write(text)
    found = read(path)
    assert found.specs == ()
    (said,) = found.problems
    assert expected in said
    assert str(path) in said


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = \x00", b"a = " + b"[" * 50_000, b"#" * 2**21])
def test_a_file_of_other_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(content)
    found = read(path)
    assert found.specs == ()
    assert "can't be read as TOML" in found.unreadable


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "models.toml"
    make(path)
    assert read(path) == ModelsFile(unreadable=f"{path} can't be read as TOML: it is no regular file.")


def test_the_whole_table_is_checked_before_its_files(write: Write) -> None:
    """The first mistake that is named is one that no file has to be opened for."""
    path = write('[mine]\nsource = "nowhere"\nloras = 3\n')
    assert "[mine], loras: it must be a list" in read(path).rejected["mine"]


def test_an_empty_scheduler_config_takes_the_defaults_away(write: Write) -> None:
    like = '[mine]\nsource = "a/b"\nlike = "sdxl-turbo"\n'
    assert one(write(like)).profile.scheduler_config == {"timestep_spacing": "trailing"}
    assert one(write(f"{like}scheduler_config = {{}}\n")).profile.scheduler_config == {}


@pytest.mark.parametrize(
    ("typed", "who"),
    [("", ("everyone",)), ('who = "admins"', ("admins",)), ('who = ["admins", "17"]', ("admins", "17"))],
)
def test_a_model_says_who_may_use_it(write: Write, typed: str, who: tuple[str, ...]) -> None:
    assert one(write(f'[mine]\nsource = "a/b"\nlike = "sdxl"\n{typed}')).profile.who == who


def test_a_scheduler_and_a_clip_skip_are_named_as_in_a1111(write: Write) -> None:
    like = '[mine]\nsource = "a/b"\nlike = "sdxl-turbo"\n'
    found = one(write(like)).profile
    assert (found.sampler, found.clip_skip) == ("Euler a", 2)
    dpm = 'scheduler = "DPMSolverMultistepScheduler"\nscheduler_config = { use_karras_sigmas = true }\nclip_skip = 1\n'
    found = one(write(like + dpm)).profile
    assert (found.sampler, found.clip_skip) == ("DPM++ 2M Karras", 1)


def test_a_byte_order_mark_is_read(write: Write) -> None:
    path = write('[mine]\nsource = "xl"\n')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert one(path).profile.name == "mine"


def test_files_that_are_no_files_are_refused_at_once(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    folder_of(tmp_path / "piped", "StableDiffusionXLPipeline")
    (tmp_path / "piped" / "vae" / "config.json").unlink()
    os.mkfifo(tmp_path / "piped" / "vae" / "config.json")
    tables = {
        "a": 'source = "pipe.safetensors"\nbase = "xl"',
        "b": 'transformer = "pipe.gguf"\nbase = "xl"',
        "c": 'source = "xl"\nloras = ["zero.safetensors"]',
        "d": 'source = "piped"',
    }
    found = read(write("".join(f"[{name}]\n{table}\n" for name, table in tables.items())))
    assert found.specs == ()
    assert all("it is no regular file" in said for said in found.rejected.values()), found.rejected


def test_the_documented_example_is_read_and_documents_every_key(tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    path = tmp_path / "models.toml"
    path.write_text(example[1], encoding="utf-8")
    for name in ("checkpoints/anime-xl.safetensors", "gguf/z-image-turbo-Q4_K_M.gguf", "loras/pixel-art.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "loras" / "detail.safetensors").touch()
    folder_of(tmp_path / "models" / "our-finetune", "StableDiffusionXLPipeline")
    found = {spec.profile.name: spec for spec in read(path).specs}
    assert list(found) == ["dreamshaper", "our-style", "anime", "turbo-q4", "pixel"]
    assert found["anime"].profile.guidance == Range(6.0, 1.0, 12.0)
    assert found["pixel"].loras[1].weight == 1.0
    keys = text[text.index("| key |") :]
    assert all(f"`{key}`" in keys for key in (*KEYS, "source"))
    assert all(name in keys for name in SCHEDULERS)


def test_the_documented_models_are_the_profiles() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for spec in known_models():
        profile = spec.profile
        row = next(line for line in text.splitlines() if line.startswith(f"| `{profile.name}` |"))
        assert profile.name == "demo" or f"`{profile.source}`" in row
        assert f" {profile.side.default} |" in row
        assert f" {profile.steps.default} " in row
        assert profile.licence in row
        ignored = next(
            line for line in text.splitlines()[text.splitlines().index(row) + 1 :] if f"| `{profile.name}` |" in line
        )
        assert ("ignored" in ignored) == (profile.negative is NegativePromptSupport.NEVER)
        assert f"{profile.side.low} to {profile.side.high}, multiples of {profile.multiple}" in ignored
        assert f"{profile.prompt_tokens} tokens" in ignored
        assert profile.negative_default in ignored
        assert ("Chinese" in ignored) == ("zh" in profile.languages)
