"""What is wrong with a model's files is said in one sentence before anything is loaded; what is right passes."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES
from safetensors.torch import load_file, save_file

from engine.contract import UnknownModel
from engine.diffusion.files import GGUF_FORMATS, Files, check, locate, stored_weights
from engine.diffusion.memory.types import StoredWeights
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl_lightning
from engine.families.z_image.spec import z_image
from engine.spec import Lora, ModelSpec
from tests.fakes import models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small pipeline of each family, single files, transformers alone and LoRAs."""
    return models.zoo(tmp_path_factory.mktemp("models"))


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy a pipeline to where a test may damage it."""
    return lambda name: Path(shutil.copytree(made / name, tmp_path / name))


def refusal(files: Files) -> str:
    with pytest.raises(UnknownModel) as caught:
        check(files)
    text = str(caught.value)
    assert re.fullmatch(r"[^\n]{20,600}\.", text), text
    return text


@pytest.mark.parametrize("name", list(models.SMALL))
def test_all_that_belongs_together_passes(made: Path, name: str) -> None:
    lora = (Lora(str(made / f"{name}-lora.safetensors")),)
    check(Files(name, made / name, loras=lora))
    check(Files(name, made / name, denoiser=made / f"{name}-alone.safetensors"))
    check(Files(name, made / name, denoiser=made / f"{name}-first.safetensors"))
    if name != "z_image":
        check(Files(name, made / name, whole=made / f"{name}.safetensors"))


def test_the_bundled_model_passes(tmp_path: Path) -> None:
    check(Files("z_image", models.copy(tmp_path / "demo")))


def test_a_pickle_in_a_part(own: Callable[[str], Path], tmp_path: Path) -> None:
    folder = models.pickled(tmp_path / "demo", tmp_path / "sprung")
    assert "text_encoder as a pickle (pytorch_model.bin)" in refusal(Files("z_image", folder))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_a_pickle_that_calls_itself_safetensors(made: Path, tmp_path: Path, protocol: int | None) -> None:
    path = tmp_path / "model.safetensors"
    if protocol is None:
        torch.save({"a": torch.zeros(3)}, path)
        assert zipfile.is_zipfile(path)
    else:
        path.write_bytes(pickle.dumps({"a": list(range(99))}, protocol))
    for files in (
        Files("sd15", made / "sd15", whole=path),
        Files("sd15", made / "sd15", denoiser=path),
        Files("sd15", made / "sd15", loras=(Lora(str(path)),)),
    ):
        assert "is a pickle, whatever its name says" in refusal(files)


def test_a_header_may_be_as_long_as_a_pickle_begins(made: Path, tmp_path: Path) -> None:
    """A length of 0x0280 begins with the bytes of a pickle of protocol 2."""
    lora, found = load_file(made / "sd15-lora.safetensors"), None
    name = next(k for k in lora if "attn2_to_k.lora_down" in k)
    for padding in range(0x280):
        buffer = tmp_path / "lora.safetensors"
        save_file({name: lora[name]}, buffer, {"note": "x" * padding})
        if buffer.read_bytes()[:2] == b"\x80\x02":
            found = buffer
            break
    assert found is not None
    check(Files("sd15", made / "sd15", loras=(Lora(str(found)),)))


@pytest.mark.parametrize("part", ["unet", "text_encoder_2", "vae"])
@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_a_part_that_ends_in_the_middle(own: Callable[[str], Path], part: str, keep: float) -> None:
    path = next((own("sdxl") / part).glob("*.safetensors"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    assert f"{path} is damaged" in refusal(Files("sdxl", path.parent.parent))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<!DOCTYPE html><html>Sign in", "a page or a Git LFS pointer"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a page or a Git LFS pointer"),
        (b"GGUF\x03\x00\x00\x00" + bytes(99), "is a GGUF file"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00" + b"[1, 2, 3, 4, 5] ", "no JSON object"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00" + b'{"a": {"x": 1}} ', "entry 'a' can't be read"),
        (b"\xff" * 99, "cut short"),
    ],
)
def test_what_is_no_safetensors_file(made: Path, tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    assert expected in refusal(Files("sdxl", made / "sdxl", whole=path))


def test_a_tensor_smaller_than_it_says(made: Path, tmp_path: Path) -> None:
    head = json.dumps({"a": {"dtype": "F16", "shape": [100, 100], "data_offsets": [0, 10]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(10))
    assert "'a' is not as large as it says" in refusal(Files("sd15", made / "sd15", whole=path))


def test_a_shard_that_is_missing(own: Callable[[str], Path]) -> None:
    folder = own("sd15")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    index = {"weight_map": {"a": weights.stem + "-00001-of-00002.safetensors", "b": "second.safetensors"}}
    weights.with_suffix(".safetensors.index.json").write_text(json.dumps(index))
    assert "unet/second.safetensors is missing" in refusal(Files("sd15", folder))


@pytest.mark.parametrize("name", ["../vae/diffusion_pytorch_model.safetensors", "weights.bin", ["a"]])
def test_a_shard_elsewhere(own: Callable[[str], Path], name: object) -> None:
    folder = own("sd15")
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    assert "which is no .safetensors file in the same folder" in refusal(Files("sd15", folder))


@pytest.mark.parametrize(
    "name", ["scheduler/scheduler_config.json", "tokenizer/merges.txt", "unet/config.json", "tokenizer/extra.json"]
)
def test_a_small_file_that_is_no_file(own: Callable[[str], Path], name: str) -> None:
    folder = own("sd15")
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        text = refusal(Files("sd15", folder))
        assert str(folder / name) in text
        assert "it is no regular file" in text


def test_a_small_file_that_is_nested_too_deeply(own: Callable[[str], Path]) -> None:
    folder = own("sd15")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"a": ' + "[" * 100_000)
    assert "nested too deeply" in refusal(Files("sd15", folder))


def test_weights_that_are_no_file(own: Callable[[str], Path], made: Path, tmp_path: Path) -> None:
    folder = own("sd15")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    os.mkfifo(weights)
    assert "it is no regular file" in refusal(Files("sd15", folder))
    for suffix in ("safetensors", "gguf"):
        path = tmp_path / f"pipe.{suffix}"
        os.mkfifo(path)
        assert "it is no regular file" in refusal(Files("sd15", made / "sd15", denoiser=path))
    pipe = tmp_path / "pipe.safetensors"
    assert "it is no regular file" in refusal(Files("sd15", made / "sd15", whole=pipe))
    assert "it is no regular file" in refusal(Files("sd15", made / "sd15", loras=(Lora(str(pipe)),)))


def test_hidden_files_beside_weights_are_not_looked_at(own: Callable[[str], Path]) -> None:
    folder = own("sd15")
    apple_double = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(96)
    for path in [*folder.glob("*/*"), *folder.glob("*.json")]:
        path.with_name(f"._{path.name}").write_bytes(apple_double)
    (folder / "unet" / "._diffusion_pytorch_model.safetensors.index.json").write_bytes(apple_double)
    (folder / "vae" / ".diffusion_pytorch_model.fp16.safetensors").write_bytes(b"unfinished")
    check(Files("sd15", folder))


def test_a_part_without_weights(own: Callable[[str], Path]) -> None:
    folder = own("sd15")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "its vae has no .safetensors file" in refusal(Files("sd15", folder))


def test_only_configs_are_needed_below_a_single_file(own: Callable[[str], Path], made: Path) -> None:
    folder = own("sdxl")
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    check(Files("sdxl", folder, whole=made / "sdxl.safetensors"))


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    assert "holds no model_index.json" in refusal(Files("sd15", tmp_path))


def test_code_is_asked_for(tmp_path: Path) -> None:
    folder = models.coded(tmp_path / "demo", tmp_path / "sprung")
    assert "Easel runs no code that comes with a model" in refusal(Files("z_image", folder))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["pipeline.py", "Mine"]}))
    assert "needs code of its own for its pipeline" in refusal(Files("z_image", folder))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "lora", "expected"),
    [
        ("sd15", "sdxl", "(96 channels where it has 32)"),
        ("sdxl", "sd15", "(32 channels where it has 96)"),
        ("sd15", "z_image", "made for Z-Image, and the model in"),
        ("z_image", "sdxl", "give one for Z-Image."),
    ],
)
def test_a_lora_a_transformer_and_a_file_of_another_family(made: Path, name: str, lora: str, expected: str) -> None:
    assert expected in refusal(Files(name, made / name, loras=(Lora(str(made / f"{lora}-lora.safetensors")),)))
    for kind in ("alone", "first"):
        assert expected in refusal(Files(name, made / name, denoiser=made / f"{lora}-{kind}.safetensors"))
    if "z_image" not in (name, lora):
        assert expected in refusal(Files(name, made / name, whole=made / f"{lora}.safetensors"))


def test_the_base_is_of_another_family(made: Path) -> None:
    assert "of the family SDXL" in refusal(Files("sdxl", made / "sd15"))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"], "Diffusion 1.5"),
        (["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"], "made for Flux"),
        (["lora_unet_double_blocks_0_img_attn_proj.lora_down.weight"], "made for Flux"),
        (["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], "made for Qwen-Image"),
        (["diffusion_model.blocks.0.cross_attn.k.lora_A.weight"], "made for Wan"),
        (["lora_unet_mid_block_attentions_0_proj_in.oft_blocks"], "is a LyCORIS"),
        (
            [
                f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.hada_w{n}_{s}"
                for n in "12"
                for s in "ab"
            ],
            "Diffusion 1.5",
        ),
        (["something.weight"], "is no LoRA"),
    ],
)
def test_loras_of_models_from_elsewhere(made: Path, tmp_path: Path, keys: list[str], expected: str) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({key: torch.zeros(4, 768) for key in keys}, path)
    assert expected in refusal(Files("sdxl", made / "sdxl", loras=(Lora(str(path)),)))


def test_a_unet_alone_given_as_a_single_file(made: Path) -> None:
    text = refusal(Files("sd15", made / "sd15", whole=made / "sd15-first.safetensors"))
    assert "holds no VAE and no text encoder" in text
    assert "give it as transformer" in text


def test_a_scale_of_weights_that_need_none(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "fp8.safetensors"
    tensors = load_file(made / "z_image-alone.safetensors")
    save_file(tensors | {"layers.0.attention.to_q.scale_weight": torch.ones(1)}, path)
    assert "scaled weights in F32" in refusal(Files("z_image", made / "z_image", denoiser=path))


EIGHT = torch.float8_e4m3fn


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.attention.to_q.weight_scale_inv",
        "layers.0.attention.to_q.input_scale",
        "layers.0.attention.to_q.s",
        "layers.0.attention.to_q_factor",
        "scales.layers.0.attention.to_q",
        "scaled_fp8",
    ],
)
def test_scales_of_fp8_by_other_names(made: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "fp8.safetensors"
    for prefix in ("", "model.diffusion_model."):
        tensors = {
            prefix + key: t.to(EIGHT) if key.endswith(("to_q.weight", "w1.weight")) else t
            for key, t in load_file(made / "z_image-alone.safetensors").items()
        }
        save_file(tensors, path)
        check(Files("z_image", made / "z_image", denoiser=path))
        save_file(tensors | {prefix + name: torch.ones(1)}, path)
        text = refusal(Files("z_image", made / "z_image", denoiser=path))
        assert f"scaled fp8 weights ({prefix}{name})" in text


def test_scales_of_fp8_in_a_single_file_and_in_a_folder(own: Callable[[str], Path], made: Path, tmp_path: Path) -> None:
    path = tmp_path / "fp8.safetensors"
    tensors = load_file(made / "sdxl.safetensors")
    layer = "model.diffusion_model.middle_block.0.in_layers.2"
    tensors |= {f"{layer}.weight": tensors[f"{layer}.weight"].to(EIGHT)}
    save_file(tensors | {"conditioner.embedders.1.model.logit_scale": torch.ones(())}, path)
    check(Files("sdxl", made / "sdxl", whole=path))
    save_file(tensors | {f"{layer}.dequant": torch.ones(1)}, path)
    assert f"({layer}.dequant)" in refusal(Files("sdxl", made / "sdxl", whole=path))
    folder = own("sd15")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors |= {"conv_in.weight": tensors["conv_in.weight"].to(EIGHT), "conv_in.amax": torch.ones(1)}
    save_file(tensors, weights)
    assert "(conv_in.amax)" in refusal(Files("sd15", folder))


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_weights_in_whole_numbers(made: Path, tmp_path: Path, kind: torch.dtype) -> None:
    path = tmp_path / "int8.safetensors"
    tensors = load_file(made / "z_image-alone.safetensors")
    save_file({k: t.to(kind) if k.endswith("to_q.weight") else t for k, t in tensors.items()}, path)
    assert "has weights in " in refusal(Files("z_image", made / "z_image", denoiser=path))


def test_a_single_file_in_capital_letters(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(made / "sd15.safetensors", tmp_path / "MODEL.SAFETENSORS"))
    assert "rename it" in refusal(Files("sd15", made / "sd15", whole=path))


@pytest.mark.parametrize("key", ["edm_mean", "edm_vpred.sigma_max"])
def test_a_file_that_was_trained_as_edm(made: Path, tmp_path: Path, key: str) -> None:
    path = tmp_path / "edm.safetensors"
    save_file(load_file(made / "sdxl.safetensors") | {key: torch.zeros(4)}, path)
    assert f"was trained as EDM ({key})" in refusal(Files("sdxl", made / "sdxl", whole=path))


def test_a_gguf_that_is_none(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "q4.gguf"
    path.write_bytes(b"<html>")
    assert "is no GGUF file" in refusal(Files("z_image", made / "z_image", denoiser=path))
    path.write_bytes(b"GGUF" + bytes(20))
    assert "is damaged: its version is 0" in refusal(Files("z_image", made / "z_image", denoiser=path))


def gguf_file(tensors: int, values: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values) + rest


LIST = struct.pack("<Q", 1) + b"a" + struct.pack("<I", 9)
SHAPE = struct.pack("<Q", 23) + b"comfy.gguf.orig_shape.a"
ONE_NUMBER = struct.pack("<Q", 1) + b"a" + struct.pack("<IQIQ", 1, 1, 0, 0) + bytes(64)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gguf_file(2**60, 0, bytes(16)), "its header is cut short"),
        (gguf_file(0, 2**60, bytes(16)), "its header is cut short"),
        (gguf_file(1, 0, struct.pack("<Q", 2**62) + b"name"), "its header is cut short"),
        (gguf_file(0, 1, LIST + struct.pack("<IQ", 0, 2**40)), "lists of more than"),
        (gguf_file(0, 1, LIST + struct.pack("<IQ", 8, 90_000)), "its header is cut short"),
        (gguf_file(0, 1, LIST + struct.pack("<IQ", 9, 1)), "the unknown type 9"),
        (gguf_file(1, 0, struct.pack("<Q", 1) + b"a" + struct.pack("<IQIQ", 1, 2**50, 0, 0)), "bytes are missing"),
        (gguf_file(1, 0, struct.pack("<Q", 1) + b"a" + struct.pack("<I", 2**31)), "sides"),
        (gguf_file(1, 0, struct.pack("<Q", 1) + b"a" + struct.pack("<IQIQ", 1, 1, 9_999, 0)), "9999 is not a valid"),
        (gguf_file(0, 1, SHAPE + struct.pack("<IIQ", 9, 5, 2**40)), "a shape that is no list of a few numbers"),
        (gguf_file(0, 1, SHAPE + struct.pack("<IIQ", 5, 7, 0)), "a shape that is no list of a few numbers"),
        (gguf_file(1, 1, SHAPE + struct.pack("<IIQi", 9, 5, 1, 3) + ONE_NUMBER), "'a' is not as large as it says"),
        (gguf_file(1, 1, SHAPE + struct.pack("<IIQii", 9, 5, 2, -1, -1) + ONE_NUMBER), "'a' is not as large"),
    ],
)
def test_a_gguf_that_counts_wrongly(made: Path, tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "q4.gguf"
    path.write_bytes(data)
    assert expected in refusal(Files("z_image", made / "z_image", denoiser=path))


def test_a_gguf_in_a_format_that_can_not_be_read(made: Path, tmp_path: Path) -> None:
    path, name = tmp_path / "q4.gguf", b"layers.0.attention.qkv.weight"
    for kind in gguf.GGMLQuantizationType:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        entry = struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, block, 64, kind, 0)
        path.write_bytes(gguf_file(1, 0, entry) + bytes(32 + 64 * size))
        files = Files("z_image", made / "z_image", denoiser=path)
        if kind in {*SUPPORTED_GGUF_QUANT_TYPES, gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16}:
            with contextlib.suppress(UnknownModel):  # the width is another
                check(files)
            assert kind.name in GGUF_FORMATS
        else:
            assert f"in {kind.name} (layers.0.attention.qkv.weight), which can't be read" in refusal(files)


def test_how_files_hold_their_weights(made: Path, own: Callable[[str], Path], tmp_path: Path) -> None:
    fp32 = dict.fromkeys(("text_encoder", "vae"), "fp32")
    alike = frozenset({*fp32, "transformer"})
    assert stored_weights(Files("z_image", made / "z_image")) == StoredWeights(fp32 | {"transformer": "fp32"}, alike)
    tensors = load_file(made / "z_image-alone.safetensors")
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "fp16"), (EIGHT, "f8_e4m3")):
        path = tmp_path / f"{name}.safetensors"
        save_file({k: t.to(dtype) if t.dim() > 1 else t for k, t in tensors.items()}, path)
        found = stored_weights(Files("z_image", made / "z_image", denoiser=path))
        assert found == StoredWeights(fp32 | {"transformer": name}, frozenset(fp32)), "its biases are in fp32"
        save_file({k: t.to(dtype) for k, t in tensors.items()}, path)
        found = stored_weights(Files("z_image", made / "z_image", denoiser=path))
        assert found.mapped == (frozenset(fp32) if dtype == EIGHT else alike), "PyTorch computes in no fp8"
    gguf_alone = Files("z_image", made / "z_image", denoiser=tmp_path / "q4.gguf")
    assert stored_weights(gguf_alone) == StoredWeights(fp32, frozenset(fp32))
    weightless = own("sd15")
    for weights in weightless.glob("*/*.safetensors"):
        weights.unlink()
    parts = frozenset({"unet", "vae", "text_encoder"})
    found = stored_weights(Files("sd15", weightless, whole=made / "sd15.safetensors"))
    assert found == StoredWeights(dict.fromkeys(parts, "fp32"), parts)


def test_files_are_located_by_what_the_spec_names() -> None:
    asked: list[str] = []

    def here(source: str) -> str:
        asked.append(source)
        return f"/here/{source}"

    lightning = ModelSpec(sdxl_lightning(), "base/xl", "a/b/unet.safetensors", (Lora("c/d/l.safetensors", 0.5),))
    assert locate(lightning, here, here) == Files(
        "sdxl",
        Path("/here/base/xl"),
        denoiser=Path("/here/a/b/unet.safetensors"),
        loras=(Lora("/here/c/d/l.safetensors", 0.5),),
    )
    single = ModelSpec(replace(sd15(), source="/m/one.safetensors"), "base/sd")
    assert locate(single, here, here).whole == Path("/here//m/one.safetensors")
    assert locate(ModelSpec(z_image()), here, here) == Files("z_image", Path("/here/Tongyi-MAI/Z-Image"))
    assert "ByteDance/SDXL-Lightning" not in asked
