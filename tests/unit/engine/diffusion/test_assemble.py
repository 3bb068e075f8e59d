"""However a model's files lie about, the pipeline that is put together from them has the same weights."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.contract import UnknownModel
from engine.diffusion.assemble import assemble, scheduler
from engine.diffusion.files import Files, check
from engine.families.sdxl.spec import noobai_xl, sdxl_lightning, sdxl_turbo
from engine.folders import profile_of
from engine.spec import Lora
from tests.fakes import models, single_files
from tests.fakes.small_pipelines import SMALL_PIPELINES

pytestmark = pytest.mark.slow

PARTS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2")
NAMES = list(models.SMALL)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.zoo(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def plain(zoo: Path) -> Callable[[str], Any]:
    """Return the pipeline of a family as its folder has it; not to be changed."""
    return functools.cache(lambda name: made(Files(name, zoo / name)))


def made(files: Files, dtype: torch.dtype = torch.float32) -> Any:
    check(files)
    return assemble(files, profile_of(files.folder), dtype)


def weights(pipe: Any) -> Mapping[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in PARTS:
        module = getattr(pipe, part, None)
        if isinstance(module, nn.Module):
            found |= {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
    return found


def same(a: Any, b: Any) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def picture(pipe: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = pipe(
        prompt="a red cat",
        num_inference_steps=2,
        width=64,
        height=64,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images[0]
    return found


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_single_file_is_the_folder(zoo: Path, plain: Callable[[str], Any], name: str, tmp_path: Path) -> None:
    base = Path(shutil.copytree(zoo / name, tmp_path / "base"))
    for weightless in base.glob("*/*.safetensors"):
        weightless.unlink()
    single = made(Files(name, base, whole=zoo / f"{name}.safetensors"))
    assert same(single, plain(name))
    np.testing.assert_allclose(picture(single), picture(plain(name)), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_transformer_alone_takes_the_bases_place(
    zoo: Path, plain: Callable[[str], Any], name: str, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(zoo / name, tmp_path / "base"))
    denoiser = "transformer" if name == "z_image" else "unet"
    (base / denoiser / "diffusion_pytorch_model.safetensors").unlink()
    first = load_file(zoo / f"{name}-first.safetensors")
    bare = tmp_path / "bare.safetensors"
    save_file({key.removeprefix("model.diffusion_model."): tensor for key, tensor in first.items()}, bare)
    for path in (zoo / f"{name}-alone.safetensors", zoo / f"{name}-first.safetensors", bare):
        assert same(made(Files(name, base, denoiser=path)), plain(name)), path


def quantised(
    source: Path,
    path: Path,
    *,
    linear: str = "Q8_0",
    other: str = "F32",
    pad: str = "F32",
    flat: bool = False,
    rows_of_256: bool = False,
) -> Path:
    """Write a transformer or UNet under the first layout's names, as the community's GGUF files are.

    Args:
        source: What to write.
        path: The file.
        linear: Format of linear layers.
        other: Format of what is neither a linear layer nor a pad token.
        pad: Format of Z-Image's pad tokens.
        flat: Whether these have one side.
        rows_of_256: Whether weights are reshaped as ComfyUI-GGUF's converter does it for SDXL and SD 1.5; all of
            them are then in the format of linear layers.
    """
    writer = gguf.GGUFWriter(path, "diffusion")
    for name, tensor in load_file(source).items():
        data = tensor.float().numpy()
        short = name.removeprefix("model.diffusion_model.")
        if rows_of_256 and data.ndim > 1 and data.size >= 512 and data.size % 256 == 0 and data.shape[-1] % 256:
            writer.add_array(f"comfy.gguf.orig_shape.{short}", tuple(int(side) for side in data.shape))
            data = data.reshape(-1, 256)
        plain = data.ndim != 2 or data.shape[-1] % 32 != 0
        form = pad if "pad_token" in name else other if plain else linear
        kind = gguf.GGMLQuantizationType[form]
        data = data[0] if flat and "pad_token" in name else data
        writer.add_tensor(short, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["sdxl", "z_image"])
def test_a_gguf_over_a_base(zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str) -> None:
    path = quantised(zoo / f"{name}-first.safetensors", tmp_path / "q8.gguf")
    error = np.abs(picture(made(Files(name, zoo / name, denoiser=path))) - picture(plain(name)))
    assert error.max() > 0
    assert error.mean() < 0.02


def test_a_lora_stays_beside_what_is_quantised(zoo: Path, plain: Callable[[str], Any], tmp_path: Path) -> None:
    path = quantised(zoo / "z_image-first.safetensors", tmp_path / "q8.gguf")
    lora = str(zoo / "z_image-lora.safetensors")
    two = (Lora(lora, 0.75), Lora(lora, 0.25))
    beside = picture(made(Files("z_image", zoo / "z_image", denoiser=path, loras=two)))
    added = picture(made(Files("z_image", zoo / "z_image", loras=two)))
    assert np.abs(beside - added).mean() < 0.02
    assert np.abs(added - picture(plain("z_image"))).mean() > 0.02


@pytest.mark.parametrize(("name", "of"), [("sdxl", "z_image"), ("z_image", "sdxl"), ("sd15", "sdxl")])
def test_a_gguf_of_another_family(zoo: Path, tmp_path: Path, name: str, of: str) -> None:
    path = quantised(zoo / f"{of}-first.safetensors", tmp_path / "q8.gguf")
    with pytest.raises(UnknownModel, match=r"q8\.gguf is made for .*; give one for .*\.$"):
        made(Files(name, zoo / name, denoiser=path))


@pytest.mark.parametrize("kind", ["BF16", "F16", "Q8_0"])
@pytest.mark.parametrize("flat", [False, True])
def test_pad_tokens_of_a_gguf(zoo: Path, plain: Callable[[str], Any], tmp_path: Path, kind: str, flat: bool) -> None:
    path = quantised(zoo / "z_image-first.safetensors", tmp_path / "q8.gguf", pad=kind, flat=flat)
    pipe = made(Files("z_image", zoo / "z_image", denoiser=path))
    own = plain("z_image").transformer
    for name in ("x_pad_token", "cap_pad_token"):
        torch.testing.assert_close(getattr(pipe.transformer, name), getattr(own, name), atol=1e-3, rtol=1e-2)
    error = np.abs(picture(pipe) - picture(plain("z_image")))
    assert error.mean() < 0.02


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_gguf_whose_convolutions_are_quantised_too(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    path = quantised(zoo / f"{name}-first.safetensors", tmp_path / "b16.gguf", other="BF16")
    error = np.abs(picture(made(Files(name, zoo / name, denoiser=path))) - picture(plain(name)))
    assert error.mean() < 0.02


@pytest.mark.parametrize("other", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("linear", ["F16", "BF16", "Q8_0", "Q4_0"])
def test_every_format_of_norms_and_linear_layers_in_a_gguf(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, linear: str, other: str
) -> None:
    path = quantised(
        zoo / "z_image-first.safetensors", tmp_path / "q.gguf", linear=linear, other=other, pad=other, flat=True
    )
    for dtype in (torch.float32, torch.bfloat16):
        pipe = made(Files("z_image", zoo / "z_image", denoiser=path), dtype)
        norms = {key: value for key, value in pipe.transformer.state_dict().items() if "norm" in key}
        assert norms
        for key, value in norms.items():
            expected = plain("z_image").transformer.state_dict()[key].to(dtype)
            torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-2)
        if dtype == torch.float32:
            error = np.abs(picture(pipe) - picture(plain("z_image")))
            assert error.mean() < (0.1 if linear == "Q4_0" else 0.02)


@pytest.mark.parametrize("linear", ["Q8_0", "BF16", "F16"])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_gguf_whose_weights_are_reshaped_to_rows_of_256(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str, linear: str
) -> None:
    path = quantised(zoo / f"{name}-first.safetensors", tmp_path / "q.gguf", linear=linear, rows_of_256=True)
    unet = made(Files(name, zoo / name, denoiser=path)).unet
    assert unet.conv_in.weight.shape == plain(name).unet.conv_in.weight.shape
    error = np.abs(picture(made(Files(name, zoo / name, denoiser=path))) - picture(plain(name)))
    assert error.mean() < 0.02


def test_flat_pad_tokens_of_a_transformer_alone(zoo: Path, plain: Callable[[str], Any], tmp_path: Path) -> None:
    tensors = load_file(zoo / "z_image-first.safetensors")
    path = tmp_path / "flat.safetensors"
    save_file({name: t[0].clone() if name.endswith("pad_token") else t for name, t in tensors.items()}, path)
    assert same(made(Files("z_image", zoo / "z_image", denoiser=path)), plain("z_image"))


@pytest.mark.parametrize(
    ("keys", "metadata", "expected"),
    [
        ((), {}, ("epsilon", False, "leading")),
        (("v_pred",), {}, ("v_prediction", False, "leading")),
        (("v_pred", "ztsnr"), {}, ("v_prediction", True, "trailing")),
        ((), {"modelspec.prediction_type": "v"}, ("v_prediction", False, "leading")),
        ((), {"modelspec.prediction_type": "epsilon"}, ("epsilon", False, "leading")),
    ],
)
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_what_a_file_was_trained_for(
    zoo: Path, tmp_path: Path, name: str, keys: tuple[str, ...], metadata: dict[str, str], expected: object
) -> None:
    base = Path(shutil.copytree(zoo / name, tmp_path / "base"))
    config = base / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"timestep_spacing": "leading"}))
    said = {key: torch.zeros(0) for key in keys}
    whole, alone = tmp_path / "whole.safetensors", tmp_path / "alone.safetensors"
    save_file(load_file(zoo / f"{name}.safetensors") | said, whole, metadata)
    save_file(load_file(zoo / f"{name}-first.safetensors") | said, alone, metadata)
    for files in (Files(name, base, whole=whole), Files(name, base, denoiser=alone)):
        found = made(files).scheduler.config
        assert (found.prediction_type, found.rescale_betas_zero_snr, found.timestep_spacing) == expected
        own = replace(profile_of(base), scheduler_config={"prediction_type": "epsilon", "timestep_spacing": "leading"})
        found = assemble(files, own, torch.float32).scheduler.config
        assert (found.prediction_type, found.timestep_spacing) == ("epsilon", "leading")


def test_velocities_are_drawn_as_such(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_file(load_file(zoo / "sdxl.safetensors") | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, path)
    pipe = made(Files("sdxl", zoo / "sdxl", whole=path))
    drawn = picture(pipe)
    assert np.isfinite(drawn).all()
    other = made(Files("sdxl", zoo / "sdxl"))
    assert np.abs(drawn - picture(other)).mean() > 0.02
    told = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    other.scheduler = type(other.scheduler).from_config(other.scheduler.config, **told)
    np.testing.assert_allclose(drawn, picture(other), atol=1e-3)


@pytest.mark.parametrize("name", ["sd15", "z_image"])
def test_capital_letters_at_the_end_of_a_files_name(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    alone = Path(shutil.copy(zoo / f"{name}-alone.safetensors", tmp_path / "ALONE.SAFETENSORS"))
    assert same(made(Files(name, zoo / name, denoiser=alone)), plain(name))
    lora = Path(shutil.copy(zoo / f"{name}-lora.safetensors", tmp_path / "LORA.SAFETENSORS"))
    small = Lora(str(zoo / f"{name}-lora.safetensors"))
    loud = made(Files(name, zoo / name, loras=(replace(small, source=str(lora)),)))
    assert same(loud, made(Files(name, zoo / name, loras=(small,))))


@pytest.mark.parametrize("name", NAMES)
def test_loras_are_added_by_their_weights(zoo: Path, plain: Callable[[str], Any], name: str) -> None:
    lora = str(zoo / f"{name}-lora.safetensors")
    half = made(Files(name, zoo / name, loras=(Lora(lora, 0.5),)))
    whole = made(Files(name, zoo / name, loras=(Lora(lora, 0.25), Lora(lora, 0.5))))
    before, between, after = weights(plain(name)), weights(half), weights(whole)
    assert before.keys() == between.keys() == after.keys()
    for key in before:
        added = between[key] - before[key]
        torch.testing.assert_close(after[key] - before[key], 1.5 * added, atol=1e-4, rtol=1e-4)
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    if name == "z_image":
        assert changed == {"transformer"}
        layer, tensors = "layers.0.attention.to_q", load_file(lora)
        down, up = (tensors[f"diffusion_model.{layer}.lora_{which}.weight"] for which in "AB")
        key = f"transformer.{layer}.weight"
        torch.testing.assert_close(between[key] - before[key], 0.5 * up @ down, atol=1e-4, rtol=1e-4)
    else:
        assert changed == {part for part in PARTS if hasattr(whole, part)} - {"vae"}
    assert np.abs(picture(whole) - picture(plain(name))).max() > 0.1


@pytest.mark.parametrize(("name", "style"), [("sdxl", "peft"), ("z_image", "transformer")])
def test_loras_as_peft_writes_them(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str, style: str
) -> None:
    lora = models.lora(zoo / name, tmp_path / "lora.safetensors", style=style)
    assert not same(made(Files(name, zoo / name, loras=(Lora(str(lora)),))), plain(name))


def test_a_lora_none_of_whose_layers_are_there(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(
        {
            "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.zeros(4, 64),
            "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.zeros(128, 4),
            "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(4.0),
        },
        path,
    )
    with pytest.raises(UnknownModel, match=r"^The model in .*lora\.safetensors can't be loaded.*\.$"):
        made(Files("sd15", zoo / "sd15", loras=(Lora(str(path)),)))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("unet", "its weight conv_in.weight has the shape [16, 3, 3, 3] where its config wants [16, 4, 3, 3]."),
        ("vae", "its weight decoder.conv_in.weight has the shape [16, 3, 3, 3] where its config wants [16, 4, 3, 3]."),
        ("text_encoder", "the weights of its text encoder have other shapes than its config wants."),
    ],
)
def test_weights_of_another_shape(zoo: Path, tmp_path: Path, part: str, expected: str) -> None:
    folder = Path(shutil.copytree(zoo / "sd15", tmp_path / "m"))
    path = next((folder / part).glob("*.safetensors"))
    tensors = load_file(path)
    name = next(k for k in tensors if k.endswith(("conv_in.weight", "token_embedding.weight")))
    save_file(tensors | {name: tensors[name][:, 1:].contiguous()}, path, {"format": "pt"})
    with pytest.raises(UnknownModel) as caught:
        made(Files("sd15", folder))
    assert str(caught.value) == f"The model in {folder} can't be loaded: {expected}"


def test_a_lora_of_another_shape(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    tensors = load_file(zoo / "sd15-lora.safetensors")
    name = next(k for k in tensors if "attn1_to_q.lora_up" in k)
    save_file(tensors | {name: torch.zeros(99, 4)}, path)
    with pytest.raises(UnknownModel, match=r"lora\.safetensors can't be loaded.*has the shape \[99, 4\]"):
        made(Files("sd15", zoo / "sd15", loras=(Lora(str(path)),)))


def test_a_safety_checker_that_stayed_on_the_hub(zoo: Path, plain: Callable[[str], Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo / "sd15", tmp_path / "m"))
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "requires_safety_checker": True,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    assert same(made(Files("sd15", folder)), plain("sd15"))
    assert same(made(Files("sd15", folder, whole=zoo / "sd15.safetensors")), plain("sd15"))


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_weights_that_are_missing(zoo: Path, tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(zoo / "sd15", tmp_path / "m"))
    path = next((folder / part).glob("*.safetensors"))
    tensors = load_file(path)
    del tensors[next(k for k in tensors if "norm" in k)]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(UnknownModel, match=rf"its {part} lacks \S*norm"):
        made(Files("sd15", folder))


def test_a_single_file_with_weights_missing(zoo: Path, tmp_path: Path) -> None:
    tensors = load_file(zoo / "sd15.safetensors")
    path = tmp_path / "less.safetensors"
    del tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    save_file(tensors, path)
    with pytest.raises(UnknownModel, match="lack"):
        made(Files("sd15", zoo / "sd15", whole=path))


def test_the_few_step_profiles_have_their_own_schedulers(zoo: Path) -> None:
    files = Files("sdxl", zoo / "sdxl")
    own = assemble(files, profile_of(files.folder), torch.float32).scheduler.config
    turbo = scheduler(sdxl_turbo(), own)
    assert (type(turbo).__name__, turbo.config.timestep_spacing) == ("EulerAncestralDiscreteScheduler", "trailing")
    lightning = scheduler(sdxl_lightning(), own)
    lightning.set_timesteps(4)
    assert lightning.timesteps.tolist() == [999.0, 749.0, 499.0, 249.0]


def test_noobai_starts_from_pure_noise_and_predicts_velocity(zoo: Path) -> None:
    own = assemble(Files("sdxl", zoo / "sdxl"), profile_of(zoo / "sdxl"), torch.float32).scheduler.config
    made = scheduler(noobai_xl(), own)
    made.set_timesteps(28)
    assert (made.config.prediction_type, float(made.timesteps[0])) == ("v_prediction", 999.0)
    # With a zero terminal SNR, the first sigma is as large as fp16 takes.
    assert float(made.sigmas[0]) > 1000


def test_no_other_scheduler_is_taken_by_its_name() -> None:
    with pytest.raises(UnknownModel, match="wants AutoencoderKL"):
        scheduler(replace(sdxl_turbo(), scheduler="AutoencoderKL"), {})


def test_an_img2img_folder_is_loaded_as_what_it_is_made_of(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(zoo / "sd15", tmp_path / "m"))
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace('"StableDiffusionPipeline"', '"StableDiffusionImg2ImgPipeline"'))
    assert same(made(Files("sd15", folder)), plain("sd15"))


def test_weights_that_are_there_in_fp16_alone(zoo: Path, plain: Callable[[str], Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo / "sdxl", tmp_path / "m"))
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder_2", "model")):
        (folder / part / f"{stem}.safetensors").rename(folder / part / f"{stem}.fp16.safetensors")
    assert same(made(Files("sdxl", folder)), plain("sdxl"))


def test_what_the_libraries_always_say_is_not_heard(
    zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lora = models.lora(zoo / "sdxl", tmp_path / "lora.safetensors", style="peft")
    made(Files("sdxl", zoo / "sdxl", denoiser=zoo / "sdxl-first.safetensors", loras=(Lora(str(lora)),)))
    assert caplog.text == ""
    logging.getLogger("diffusers.models.modeling_utils").warning("should be kept in float32: []")
    assert "kept in float32" in caplog.text


def test_what_the_libraries_warn_of_is_heard(zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(shutil.copytree(zoo / "sd15", tmp_path / "m"))
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"never.used.weight": torch.zeros(3)}, path, {"format": "pt"})
    made(Files("sd15", folder))
    assert "never.used.weight" in caplog.text


FILES = ("Flux2KleinPipeline", "QwenImagePipeline", "StableDiffusion3Pipeline")
"""Classes that the generic family draws with, and whose transformers diffusers reads from a file."""


@pytest.fixture(scope="module", params=FILES)
def any_class(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """Return a base without its transformer, the file of that, and the pipeline of both."""
    base = SMALL_PIPELINES[request.param].build(tmp_path_factory.mktemp("any") / request.param, 0)
    whole = made(Files("generic", base))
    file = base / "transformer" / "diffusion_pytorch_model.safetensors"
    return base, file.rename(base.with_suffix(".safetensors")), whole


def test_a_transformer_of_any_class_over_its_base(any_class: tuple[Path, Path, Any], tmp_path: Path) -> None:
    base, file, whole = any_class
    tensors = load_file(file)
    checkpoint = tmp_path / "checkpoint.safetensors"
    first = {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(first | {"first_stage_model.conv_in.weight": torch.ones(3, 3)}, checkpoint)
    for path in (file, checkpoint):
        found = made(Files("generic", base, denoiser=path))
        assert same(found, whole)
    # Weights at other addresses in memory are computed with in another order.
    np.testing.assert_allclose(picture(found), picture(whole), atol=1e-3)


def test_a_gguf_of_any_class_over_its_base(any_class: tuple[Path, Path, Any], tmp_path: Path) -> None:
    base, file, whole = any_class
    found = made(Files("generic", base, denoiser=quantised(file, tmp_path / "q8.gguf")))
    assert any(type(p).__name__ == "GGUFParameter" for p in found.transformer.parameters())
    error = np.abs(picture(found) - picture(whole))
    assert 0 < error.mean() < 0.02


def test_a_transformer_of_any_class_is_compared_with_the_configs_of_its_base(
    any_class: tuple[Path, Path, Any], tmp_path: Path
) -> None:
    base, file, _ = any_class
    tensors = load_file(file)
    path = tmp_path / "bad.safetensors"
    save_file(tensors | {"controlnet.more.weight": torch.ones(4, 4)}, path)
    with pytest.raises(UnknownModel, match=r"holds 16 numbers .* no place for, among them controlnet"):
        made(Files("generic", base, denoiser=path))
    save_file(dict(list(tensors.items())[1:]), path)
    with pytest.raises(UnknownModel, match="can't be loaded"):
        made(Files("generic", base, denoiser=path))
    save_file(tensors | {"proj_out.scale_weight": torch.ones(3)}, path)
    with pytest.raises(UnknownModel, match="scale"):
        made(Files("generic", base, denoiser=path))


@pytest.mark.parametrize("eight", [False, True])
def test_the_original_names_of_klein(tmp_path: Path, *, eight: bool) -> None:
    base = SMALL_PIPELINES["Flux2KleinPipeline"].build(tmp_path / "klein", 0)
    whole = made(Files("generic", base))
    tensors = {name: tensor.contiguous() for name, tensor in single_files.flux2(whole.transformer).items()}
    if eight:  # norms stay as they are, and their scales are no scales of other weights
        tensors = {
            name: tensor.to(torch.float8_e4m3fn) if tensor.dim() == 2 else tensor for name, tensor in tensors.items()
        }
    for prefix in ("", "model.diffusion_model."):
        path = tmp_path / "first.safetensors"
        save_file({prefix + name: tensor for name, tensor in tensors.items()}, path)
        found = made(Files("generic", base, denoiser=path))
        if eight:
            assert np.abs(picture(found) - picture(whole)).mean() < 0.1
        else:
            assert same(found, whole)


def test_a_transformer_that_diffusers_reads_from_no_file(tmp_path: Path) -> None:
    base = SMALL_PIPELINES["PixArtSigmaPipeline"].build(tmp_path / "pixart", 0)
    file = base / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(UnknownModel, match="diffusers reads no PixArtTransformer2DModel from a single file"):
        made(Files("generic", base, denoiser=file))
