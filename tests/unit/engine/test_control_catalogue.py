"""The operator's ControlNets: their kinds and families, which models they are for, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine import catalogue
from engine.control_catalogue import ControlCatalogue, read_controls, with_controls
from engine.families.registry import known_models
from engine.spec import ControlSpec
from tests.fakes.safetensors_headers import write

SD15 = {
    "control_model.input_hint_block.0.weight": (16, 3, 3, 3),
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
SDXL = {
    "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
    "add_embedding.linear_1.weight": (1280, 2816),
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
}
SD2 = {
    "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
}
Z_IMAGE = {"control_all_x_embedder.2-1.weight": (3840, 132), "control_layers.0.after_proj.weight": (3840, 3840)}


def folder(path: Path, **config: object) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel", **config}))
    write(path / "diffusion_pytorch_model.safetensors", {"conv_in.weight": (320, 4, 3, 3)})
    return path


def read(tmp_path: Path, text: str) -> ControlCatalogue:
    (tmp_path / "models.toml").write_text(text)
    return read_controls(str(tmp_path / "models.toml"))


def test_folders_files_and_hub_ids(tmp_path: Path) -> None:
    folder(tmp_path / "depth", cross_attention_dim=2048, addition_embed_type="text_time")
    write(tmp_path / "canny.safetensors", SD15)
    write(tmp_path / "xl.safetensors", SDXL)
    write(tmp_path / "union.safetensors", Z_IMAGE)
    found = read(
        tmp_path,
        "[control.depth-xl]\nkind = 'depth'\nsource = 'depth'\ntitle = 'Depth XL'\n"
        "[control.edges]\nkind = 'canny'\nsource = 'canny.safetensors'\nfamily = 'sd15'\n"
        "[control.xl]\nkind = 'canny'\nsource = 'xl.safetensors'\n"
        "[control.fun]\nkind = ['canny', 'depth', 'pose', 'canny']\nsource = 'union.safetensors'\n"
        "[control.hub]\nkind = 'pose'\nsource = 'owner/controlnet'\nfamily = 'sdxl'\n"
        "[control.hub-file]\nkind = 'depth'\nsource = 'owner/name/depth.safetensors'\nfamily = 'sd15'\n",
    )
    assert found.problems == ()
    assert found.specs == (
        ControlSpec("depth-xl", "Depth XL", ("depth",), "sdxl", str(tmp_path / "depth"), 2048),
        ControlSpec("edges", "edges", ("canny",), "sd15", str(tmp_path / "canny.safetensors"), 768),
        ControlSpec("xl", "xl", ("canny",), "sdxl", str(tmp_path / "xl.safetensors"), 2048),
        ControlSpec("fun", "fun", ("canny", "depth", "pose"), "z_image", str(tmp_path / "union.safetensors"), 3840),
        ControlSpec("hub", "hub", ("pose",), "sdxl", "owner/controlnet"),
        ControlSpec("hub-file", "hub-file", ("depth",), "sd15", "owner/name/depth.safetensors"),
    )


def test_a_link_to_content_without_a_suffix_is_a_file(tmp_path: Path) -> None:
    write(tmp_path / "it.safetensors", SD15)
    (tmp_path / "it.safetensors").rename(tmp_path / "0123abcd")
    (tmp_path / "canny.safetensors").symlink_to("0123abcd")
    found = read(tmp_path, "[control.edges]\nkind = 'canny'\nsource = 'canny.safetensors'\n")
    assert found.problems == ()
    assert found.specs[0].source == str(tmp_path / "canny.safetensors")


def test_models_get_the_kinds_of_their_family(tmp_path: Path) -> None:
    write(tmp_path / "canny.safetensors", SD15)
    write(tmp_path / "union.safetensors", Z_IMAGE)
    text = "[control.a]\nkind = 'canny'\nsource = 'canny.safetensors'\n[control.b]\nkind = 'pose'\nsource = 'union.safetensors'\n"
    controls = read(tmp_path, text).specs
    kinds = {spec.profile.name: with_controls(spec, controls).profile.controls for spec in known_models()}
    assert kinds["sd15"] == ("canny",)
    assert kinds["z-image-turbo"] == ("pose",)
    assert kinds["sdxl"] == ()
    assert kinds["demo"] == (), "the demo is narrower"
    sd15 = next(spec for spec in known_models() if spec.profile.name == "sd15")
    assert with_controls(sd15, controls) == replace(
        sd15, profile=replace(sd15.profile, controls=("canny",)), controls=controls[:1]
    )
    found = catalogue.read_catalogue("sd15", "", str(tmp_path / "models.toml"))
    assert (found.specs[0].profile.controls, found.problems) == (("canny",), ())


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[control.x]\nkind = 'canny'", "[control.x], source: it must name a folder"),
        ("[control.x]\nsource = 'a/b'", "[control.x], kind: it must be a word of small letters"),
        ("[control.x]\nkind = 'A b'\nsource = 'a/b'", "[control.x], kind: it must be a word of small letters"),
        ("[control.x]\nkind = []\nsource = 'a/b'", "[control.x], kind: it must be a word"),
        ("[control.x]\nkind = 'canny'\nsource = 'a/b'\nfile = 'c'", "[control.x], file: there is no such key"),
        ("[control.x]\nkind = 'canny'\nsource = 'a/b'", "[control.x], family: say which family"),
        ("[control.x]\nkind = 'canny'\nsource = 'a/b'\nfamily = 'cats'", "family: there is no family 'cats'"),
        ("[control.x]\nkind = 'canny'\nsource = 'a.ckpt'", "source: 'a.ckpt' is a pickle"),
        ("[control.x]\nkind = 'canny'\nsource = 'gone'", "source: 'gone' is neither a hub id"),
        ("[control.x]\nkind = 'canny'\nsource = 'gone.safetensors'", "'gone.safetensors' is neither a hub id"),
        ("[control.x]\nkind = 'canny'\nsource = 'lora.safetensors'", "is no ControlNet, by the names"),
        ("[control.x]\nkind = 'canny'\nsource = 'control-lora.safetensors'", "is a Control-LoRA, which"),
        ("[control.x]\nkind = 'canny'\nsource = 'sd2.safetensors'", "'ControlNetModel', which no model of Easel's"),
        ("[control.x]\nkind = 'canny'\nsource = 'union'", "'ControlNetUnionModel', which no model of Easel's"),
        (
            "[control.x]\nkind = 'canny'\nsource = 'good'\nfamily = 'sdxl'",
            "is made for Stable Diffusion 1.5, not for SDXL",
        ),
        ("[control.x]\nkind = 'canny'\nsource = 'pickle'", "has its weights as a pickle (a.bin)"),
        ("[control.x]\nkind = 'canny'\nsource = 'empty'", "has no weights"),
        ("[control.x]\nkind = 'canny'\nsource = 'cut.safetensors'", "is damaged"),
        ("[control.X]\nkind = 'canny'\nsource = 'good'", "[control.X]: a ControlNet's name is up to 40"),
        (
            "[control.x]\nkind = 'canny'\nsource = 'good'",
            "[control.x], kind: canny for Stable Diffusion 1.5 is that of [control.good]",
        ),
        ("control = 3", "a model can't be called 'control'"),
    ],
)
def test_a_mistake_in_a_table_is_one_sentence_and_the_others_stay(tmp_path: Path, table: str, said: str) -> None:
    folder(tmp_path / "good", cross_attention_dim=768)
    folder(tmp_path / "union", _class_name="ControlNetUnionModel", cross_attention_dim=2048)
    for name in ("pickle", "empty"):
        (folder(tmp_path / name, cross_attention_dim=768) / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "pickle" / "a.bin").write_bytes(b"\x80")
    write(tmp_path / "lora.safetensors", {"lora_unet_a.lora_down.weight": (4, 4)})
    write(tmp_path / "control-lora.safetensors", SDXL | {"lora_controlnet": (0,)})
    write(tmp_path / "sd2.safetensors", SD2)
    write(tmp_path / "cut.safetensors", SD15)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-10])
    good = "" if table.startswith("control =") else "[control.good]\nkind = 'canny'\nsource = 'good'\n"
    found = read(tmp_path, f"{good}{table}\n")
    assert [spec.name for spec in found.specs] == ["good"] * bool(good)
    (problem,) = found.problems
    assert said in problem
    assert problem.startswith(str(tmp_path / "models.toml"))
    assert "\n" not in problem


def test_widths_that_are_no_numbers_stop_nothing(tmp_path: Path) -> None:
    folder(tmp_path / "good", cross_attention_dim=768)
    folder(tmp_path / "list", cross_attention_dim=[768, 768])
    write(tmp_path / "scalar.safetensors", {"control_all_x_embedder.2-1.weight": ()})
    sources = {"good": "good", "list": "list", "scalar": "scalar.safetensors"}
    found = read(tmp_path, "".join(f"[control.{n}]\nkind = '{n}'\nsource = '{s}'\n" for n, s in sources.items()))
    assert {spec.name: spec.width for spec in found.specs} == {"good": 768, "list": 0, "scalar": 0}


def test_a_table_that_can_not_be_used_is_among_the_problems_of_the_models(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[control.x]\nkind = 'canny'\nsource = 'gone'\n")
    found = catalogue.read_catalogue("demo", "", str(tmp_path / "models.toml"))
    assert "[control.x], source" in found.problems[0]
    assert read_controls("").specs == ()
    assert read_controls(str(tmp_path / "no.toml")) == ControlCatalogue()
