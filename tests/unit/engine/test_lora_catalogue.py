"""The LoRAs that requests may name: their names, titles, trigger words and families, and what is left out."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from pathlib import Path

import pytest

from engine.contract import LoraInfo
from engine.lora_catalogue import LoraCatalogue, read_loras, unknown_lora
from tests.fakes.safetensors_headers import write

SDXL = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 4),
}
SD15 = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.hada_w1_a": (320, 4),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.hada_w1_b": (4, 768),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.hada_w2_a": (320, 4),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.hada_w2_b": (4, 768),
}
Z_IMAGE = {
    "diffusion_model.layers.0.attention.to_q.lokr_w1": (4, 4),
    "diffusion_model.layers.0.attention.to_q.lokr_w2": (960, 960),
}
CONVOLUTION = {
    "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": (4, 320, 3, 3),
    "lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": (320, 4, 1, 1),
}


def infos(found: LoraCatalogue) -> dict[str, LoraInfo]:
    return {spec.info.name: spec.info for spec in found.specs}


@pytest.mark.parametrize(
    ("tensors", "metadata", "family"),
    [
        (SDXL, {}, "sdxl"),
        (SD15, {}, "sd15"),
        (Z_IMAGE, {}, "z_image"),
        (CONVOLUTION, {}, ""),
        (CONVOLUTION, {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        (CONVOLUTION, {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd15"),
        (CONVOLUTION | {"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768)}, {}, "sdxl"),
        (CONVOLUTION | {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768)}, {}, "sd15"),
        ({"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v.lora_down.weight": (4, 1024)}, {}, ""),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 3072)}, {}, ""),
        ({"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": (4, 768)}, {}, ""),
    ],
)
def test_the_family_is_found_from_names_and_shapes(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], metadata: dict[str, str], family: str
) -> None:
    write(tmp_path / "one.safetensors", tensors, metadata)
    assert infos(read_loras(str(tmp_path), ""))["one"].family == family


def test_names_come_from_files_and_titles_and_words_from_metadata(tmp_path: Path) -> None:
    write(tmp_path / "Pixel Art XL.safetensors", SDXL, {"modelspec.trigger_phrase": "pixel art, 8-bit"})
    write(tmp_path / "characters" / "Mei_v1.2.safetensors", SDXL, {"modelspec.title": "Mei\n the cat"})
    tags = {"10_sks": {"sks cat": 20, "grass": 3, "solo": 19}, "2_more": {"sks cat": 5}}
    counts = {"10_sks": {"n_repeats": 10, "img_count": 20}, "2_more": {"n_repeats": 2, "img_count": 5}}
    write(
        tmp_path / "tagged.safetensors",
        SDXL,
        {"ss_tag_frequency": json.dumps(tags), "ss_dataset_dirs": json.dumps(counts)},
    )
    write(tmp_path / "odd.safetensors", SDXL, {"ss_tag_frequency": "[" * 100_000})
    write(tmp_path / ".hidden.safetensors", SDXL)
    (tmp_path / "notes.txt").write_text("no weights")
    found = read_loras(str(tmp_path), "")
    assert found.problems == ()
    assert list(infos(found).values()) == [
        LoraInfo("mei_v1.2", "Mei the cat", (), "sdxl"),
        LoraInfo("odd", "odd", (), "sdxl"),
        LoraInfo("pixel-art-xl", "Pixel Art XL", ("pixel art", "8-bit"), "sdxl"),
        LoraInfo("tagged", "tagged", ("sks cat",), "sdxl"),
    ]
    assert found.specs[0].path == str(tmp_path / "characters" / "Mei_v1.2.safetensors")


def test_tables_describe_files_of_the_folder_and_others(tmp_path: Path) -> None:
    folder, own = tmp_path / "loras", tmp_path / "models.toml"
    write(folder / "pixel.safetensors", SDXL)
    write(folder / "other.safetensors", SDXL)
    write(tmp_path / "mine.safetensors", CONVOLUTION)
    own.write_text(
        "[sd]\nsource = 'x/y'\n"
        "[lora.pixel]\ntitle = 'Pixels'\ntrigger = 'pixel art'\nweight = 0.8\n"
        "[lora.mine]\nfile = 'mine.safetensors'\nfamily = 'sd15'\nwho = ['admins', '1234']\ntrigger = ['a', 'b']\n"
        "[lora.renamed]\nfile = 'loras/other.safetensors'\n"
    )
    found = read_loras(str(folder), str(own))
    assert found.problems == ()
    assert list(infos(found).values()) == [
        LoraInfo("mine", "mine", ("a", "b"), "sd15", ("admins", "1234")),
        LoraInfo("pixel", "Pixels", ("pixel art",), "sdxl", weight=0.8),
        LoraInfo("renamed", "other", (), "sdxl"),
    ]
    assert infos(read_loras("", str(own))).keys() == {"mine", "renamed"}


def test_a_link_is_a_lora_under_its_own_name(tmp_path: Path) -> None:
    folder, own, blob = tmp_path / "loras", tmp_path / "models.toml", tmp_path / "blobs" / "0123abcd"
    write(tmp_path / "other.safetensors", SD15)
    write(tmp_path / "one.safetensors", SDXL)
    blob.parent.mkdir()
    (tmp_path / "one.safetensors").rename(blob)
    folder.mkdir()
    (folder / "ink.safetensors").symlink_to(blob)
    (folder / "pixel.safetensors").symlink_to("../other.safetensors")
    (folder / "zero.safetensors").symlink_to("/dev/zero")
    own.write_text('[lora.mine]\nfile = "loras/ink.safetensors"\n[lora.nul]\nfile = "a\\u0000.safetensors"\n')
    found = read_loras(str(folder), str(own))
    assert {spec.info.name: spec.path for spec in found.specs} == {
        "mine": str(folder / "ink.safetensors"),
        "pixel": str(folder / "pixel.safetensors"),
    }
    assert ["is no path" in found.problems[0], "loras/zero.safetensors" in found.problems[1]] == [True, True]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[lora.x]\nfile = 'gone.safetensors'", "[lora.x], file: The LoRA"),
        ("[lora.x]", "[lora.x], file: it must name a .safetensors file"),
        ("[lora.x]\nfile = 'a.ckpt'", "[lora.x], file: 'a.ckpt' is a pickle"),
        ("[lora.x]\nfile = 'a.txt'", "[lora.x], file: 'a.txt' must end in .safetensors"),
        ("[lora.x]\nfile = 3", "[lora.x], file: it must be the path"),
        ("[lora.x]\nfile = 'good.safetensors'\nweight = 3", "[lora.x], weight: it must be a number from -2 to 2"),
        ("[lora.x]\nfile = 'good.safetensors'\nfamily = 'cats'", "[lora.x], family: there is no family 'cats'"),
        ("[lora.x]\nfile = 'good.safetensors'\nwho = []", "[lora.x], who: it must be"),
        ("[lora.x]\nfile = 'good.safetensors'\ntriggers = []", "[lora.x], triggers: there is no such key"),
        ("[lora.X]\nfile = 'good.safetensors'", "[lora.X]: a LoRA's name is up to 80 lower-case letters"),
        ("[lora]\nsource = 'a/b'", "a model can't be called 'lora'"),
        ("lora = 3", "a model can't be called 'lora'"),
    ],
)
def test_a_mistake_in_a_table_is_one_sentence_and_the_others_stay(tmp_path: Path, table: str, said: str) -> None:
    write(tmp_path / "good.safetensors", SDXL)
    own = tmp_path / "models.toml"
    own.write_text(table + ("" if table.startswith("lora") else "\n[lora.good]\nfile = 'good.safetensors'\n"))
    found = read_loras("", str(own))
    assert len(found.problems) == 1
    assert said in found.problems[0]
    assert found.problems[0].endswith(".")
    assert infos(found).keys() == (set() if table.startswith("lora") else {"good"})


@pytest.mark.parametrize(
    "text",
    [
        "[lora.pixel]\nwho = ['admins']\ntriger = 'pixel art'\n",
        "[lora.Pixel]\nwho = ['admins']\n",
        "[lora.mine]\nfile = 'loras/pixel.safetensors'\nwho = 'admins'\nweight = 3\n",
        "lora.pixel = 'admins'\n",
    ],
)
def test_a_file_whose_table_has_a_mistake_is_not_offered_to_everyone(tmp_path: Path, text: str) -> None:
    folder, own = tmp_path / "loras", tmp_path / "models.toml"
    write(folder / "pixel.safetensors", SDXL)
    write(folder / "other.safetensors", SDXL)
    own.write_text(text)
    found = read_loras(str(folder), str(own))
    assert infos(found).keys() == {"other"}
    assert len(found.problems) == 1


def test_no_file_is_offered_while_models_toml_can_not_be_read(tmp_path: Path) -> None:
    folder, own = tmp_path / "loras", tmp_path / "models.toml"
    write(folder / "pixel.safetensors", SDXL)
    own.write_text("[lora.pixel]\nwho = ['admins'\n")
    found = read_loras(str(folder), str(own))
    assert found.specs == ()
    (problem,) = found.problems
    assert problem.startswith(f"{own} can't be read as TOML")
    assert problem.endswith(f"it may say who may use the LoRAs of {folder}, so none is offered.")
    assert read_loras("", str(own)) == LoraCatalogue()


def test_broken_files_are_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path / "good.safetensors", SDXL)
    whole = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.safetensors").write_text("<html>sign in</html>" * 10)
    write(tmp_path / "unet.safetensors", {"down_blocks.0.resnets.0.conv1.weight": (4, 4, 3, 3)})
    write(tmp_path / "again" / "GOOD.safetensors", SDXL)
    write(tmp_path / "___.safetensors", SDXL)
    found = read_loras(str(tmp_path), "")
    assert infos(found).keys() == {"good"}
    said = "\n".join(found.problems)
    assert "cut.safetensors is damaged" in said
    assert "page.safetensors is a page" in said
    assert "unet.safetensors is no LoRA" in said
    assert "the name good is taken" in said
    assert "___.safetensors: its name can't be typed" in said
    assert len(found.problems) == 5


@pytest.mark.parametrize(
    ("entry", "metadata", "kept"),
    [
        ({"shape": [math.inf]}, {}, False),
        ({}, {"ss_tag_frequency": json.dumps({"folder": {"cat": 10**400}})}, True),
    ],
)
def test_numbers_that_are_too_large_stop_nothing(
    tmp_path: Path, entry: dict[str, object], metadata: dict[str, str], kept: bool
) -> None:
    write(tmp_path / "good.safetensors", SDXL)
    layer = {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]} | entry
    header = json.dumps({"__metadata__": metadata, "a.lora_down.weight": layer}).encode()
    (tmp_path / "strange.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    found = read_loras(str(tmp_path), "")
    assert infos(found).keys() == ({"good", "strange"} if kept else {"good"})
    said = "its entry 'a.lora_down.weight' can't be read"
    assert [said in problem for problem in found.problems] == ([] if kept else [True])


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have texts as names")
def test_a_name_that_is_no_text_gives_a_title_that_is_one(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"caf\xe9 noir.safetensors"), SDXL)
    assert infos(read_loras(str(tmp_path), ""))["caf-noir"].title == "caf noir"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "there is no folder" in read_loras(str(tmp_path / "none"), "").problems[0]
    assert read_loras("", "") == LoraCatalogue()


def test_an_unknown_name_comes_with_the_nearest() -> None:
    assert str(unknown_lora("pixle", ["pixel", "mei"])) == "There is no LoRA 'pixle'; did you mean pixel?"
    assert "there are others" in str(unknown_lora("zzz", ["pixel"]))
    assert "there is none here" in str(unknown_lora("zzz", []))
