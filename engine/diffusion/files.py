"""Looks at a model's files before anything is loaded from them: no pickles, no code, nothing cut short, no strangers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.contract import UnknownModel
from engine.diffusion import gguf_header
from engine.folders import PARTS, index_of, read, read_value
from engine.regular_files import JSON_BYTES, read_bytes
from engine.spec import Lora, ModelSpec
from engine.weights import Held, header, visible, weight_files

_WEIGHTLESS = ("tokenizer", "tokenizer_2", "scheduler")
_PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")
_TEXTS = (".txt", ".jinja", ".model")

TITLES: Mapping[str, str] = {"z_image": "Z-Image", "sdxl": "SDXL", "sd15": "Stable Diffusion 1.5"}
"""What people call the families."""

_WIDTHS: Mapping[int, str] = {768: TITLES["sd15"], 1024: "Stable Diffusion 2", 2048: TITLES["sdxl"]}
"""Channels of the prompt that a UNet's cross attention takes tell which model it is of."""

_KINDS: Mapping[str, re.Pattern[str]] = {
    "unet": re.compile(r"(?:down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)[._]"),
    "z_image": re.compile(
        r"(?:^|[._])(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward|adaLN)"
    ),
    "Flux": re.compile(r"double_blocks[._]\d|single_blocks[._]\d|single_transformer_blocks[._]\d"),
    "Stable Diffusion 3": re.compile(r"joint_blocks[._]\d"),
    "Qwen-Image or a model like it": re.compile(r"(?:^|[._])transformer_blocks[._]\d+[._]"),
    "Wan": re.compile(r"(?:^|[._])blocks[._]\d+[._](?:self_attn|cross_attn)"),
}
"""By which names a model's weights and LoRAs are known; the first that fits counts."""

_EDM = frozenset({"edm_mean", "edm_std", "edm_vpred"})
_LORA = re.compile(r"lora_(?:down|up|A|B)|lora\.(?:down|up)|_lora\b")
_LOKR = re.compile(r"\.lokr_w[12]")
_LYCORIS = re.compile(r"lokr_|hada_|oft_|\bdiff_b?\b")
_DOWN = r"(?:\.weight|[._]lora[._](?:down|A)\.(?:\w+\.)?weight)$"
_CROSS = re.compile(r"attn2[._](?:processor[._])?to_[kv]" + _DOWN)
_ATTENTION = re.compile(r"[._]attention[._](?:to_q|qkv)" + _DOWN)
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_SCALED = (".scale_weight", ".weight_scale", ".comfy_quant", "scaled_fp8")
_SCALE = re.compile(r"scale(?!_factor$)|amax|absmax|comfy_quant|quant_state|_inv$")
_WEIGHT = re.compile(r"(?:in_proj_)?(?:weight|bias)|\w*pad_token|position_ids|logit_scale|v_pred|ztsnr")
_OF_DENOISER = re.compile(r"(?:model\.diffusion_model\.)?(?:layers|noise_refiner|context_refiner|(?:down|up)_blocks|mid_block|(?:input|output)_blocks|middle_block)\.")  # fmt: skip
"""What a weight is called by the last part of its name. In fp8, whatever else is there is a scale by some name."""


@dataclass(frozen=True, slots=True)
class Files:
    """A model's files on this machine.

    Attributes:
        family: Which family draws it.
        folder: The pipeline: all of it, or what a single file is read with and a transformer is put into.
        whole: A single file with all weights; None where they are in ``folder``.
        denoiser: A transformer or UNet alone, ``.safetensors`` or ``.gguf``; None where it is in ``folder``.
        loras: What is added; their sources are paths.
    """

    family: str
    folder: Path
    whole: Path | None = None
    denoiser: Path | None = None
    loras: tuple[Lora, ...] = ()

    @property
    def named(self) -> Path:
        """The file or folder by which people know the model."""
        return self.denoiser or self.whole or self.folder


def locate(spec: ModelSpec, folder_of: Callable[[str], str], file_of: Callable[[str], str]) -> Files:
    """Return where a model's files are.

    Args:
        spec: Which model.
        folder_of: Returns the folder of a hub id or folder, fetching it where it has to.
        file_of: Returns the path of a hub file or path, likewise.
    """
    single = spec.single_file
    return Files(
        spec.profile.family,
        Path(folder_of(spec.folder)),
        whole=Path(file_of(single)) if single else None,
        denoiser=Path(file_of(spec.transformer)) if spec.transformer else None,
        loras=tuple(replace(lora, source=file_of(lora.source)) for lora in spec.loras),
    )


def check(files: Files) -> None:
    """Look at everything that is going to be loaded.

    Raises:
        UnknownModel: Something is missing, damaged, a pickle, of another family, or wants code to be run: one sentence.
    """
    named, family = index_of(files.folder)
    if family != files.family:
        raise UnknownModel(
            f"The pipeline in {files.folder} is a {named}, but this model is of the family {TITLES[files.family]}; "
            "name another one as its base."
        )
    for part in PARTS[family]:
        _check_small_files(files.folder / part)
        if part not in _WEIGHTLESS and files.whole is None and not (files.denoiser and part in ("unet", "transformer")):
            _check_part(files.folder / part)
    if files.whole is not None:
        _check_whole(files, files.whole)
    if files.denoiser is not None:
        _check_denoiser(files, files.denoiser)
    for lora in files.loras:
        _check_lora(files, Path(lora.source))


def _check_objective(path: Path, held: Mapping[str, Held]) -> None:
    if strange := next((name for name in held if name.partition(".")[0] in _EDM), None):
        raise UnknownModel(f"{path} was trained as EDM ({strange}), which Easel can't draw with.")


def _check_small_files(folder: Path) -> None:
    """Look at what the libraries read of a part beside its weights: it would be read whole, and waited for."""
    for path in visible(folder, "*"):
        if path.is_dir() or path.suffix.lower() == ".safetensors":
            continue
        if path.suffix == ".json":
            read_value(path)
        elif path.suffix in _TEXTS:
            try:
                read_bytes(path, JSON_BYTES)
            except OSError as e:
                raise UnknownModel(f"The model's file {path} can't be read ({e.strerror or e}).") from e


def _check_part(folder: Path) -> None:
    found = weight_files(folder)
    for index in visible(folder, "*.safetensors.index.json"):
        shards = read(index).get("weight_map")
        names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
        if strangers := sorted(name for name in names if "/" in name or not name.endswith(".safetensors")):
            raise UnknownModel(
                f"The model's file {index} names {strangers[0][:80]!r}, which is no .safetensors file beside it; "
                "copy the model again."
            )
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing and not any("index" not in p.name and "-of-" not in p.name for p in found):
            raise UnknownModel(f"The model in {folder.parent} is not whole: {folder.name}/{missing[0]} is missing.")
    if not found:
        pickles = [p.name for pattern in _PICKLES for p in visible(folder, pattern)]
        if pickles:
            raise UnknownModel(
                f"The model in {folder.parent} has its {folder.name} as a pickle ({pickles[0]}), which can run code; "
                "get it as .safetensors."
            )
        if not visible(folder, "*.safetensors"):
            raise UnknownModel(
                f"The model in {folder.parent} is not whole: its {folder.name} has no .safetensors file."
            )
    quantised = "quantization_config" in read(folder / "config.json")  # the library applies what is described there
    for path in found:
        held = header(path)
        if not quantised:
            _check_formats(path, held)


def _check_whole(files: Files, path: Path) -> None:
    if path.suffix != ".safetensors":  # the library would take it for a pickle
        raise UnknownModel(f"{path} must end in .safetensors, in small letters; rename it.")
    held = header(path)
    _check_formats(path, held)
    if files.family == "z_image":
        raise UnknownModel(
            f"{path} can't be loaded as one file: Z-Image's transformer goes over a base, as transformer."
        )
    _check_kin(files, path, held, "single file")
    _check_objective(path, held)
    missing = [
        what
        for what, begins in (
            ("VAE", ("first_stage_model.", "vae.")),
            ("text encoder", ("cond_stage_model.", "conditioner.")),
            ("UNet", ("model.diffusion_model.",)),
        )
        if not any(name.startswith(begins) for name in held)
    ]
    if missing:
        raise UnknownModel(
            f"{path} holds no {' and no '.join(missing)}, so it is no whole model; where it is a UNet alone, "
            "give it as transformer, over a base."
        )


def _check_denoiser(files: Files, path: Path) -> None:
    if path.suffix.lower() == ".gguf":
        _check_kin(files, path, gguf_header.header(path), "transformer")
        return
    held = header(path)
    _check_formats(path, held)
    _check_kin(files, path, held, "transformer")


def _check_formats(path: Path, held: Mapping[str, Held]) -> None:
    """Raise UnknownModel where weights are numbers that count with a scale or a code book: without it they are noise."""
    for name, tensor in held.items():
        if len(tensor.shape) > 1 and tensor.kind not in _FLOATS and not name.endswith("position_ids"):
            raise UnknownModel(
                f"The model's file {path} has weights in {tensor.kind} ({name[:80]}), which can't be read; get it in bf16 or as .gguf."
            )
    eights = {name.rpartition(".")[0] for name, tensor in held.items() if tensor.kind.startswith("F8")}
    for name in held:
        layer, _, last = name.rpartition(".")
        scale = _SCALE.search(name) is not None and last != "logit_scale"
        beside = layer in eights and not _WEIGHT.fullmatch(last)
        stray = eights and _OF_DENOISER.match(name) is not None and not _WEIGHT.fullmatch(last)
        if (scale and (eights or name.endswith(_SCALED))) or beside or stray:
            raise UnknownModel(
                f"The model's file {path} has scaled fp8 weights ({name[:80]}), which can't be read; get it in bf16 or as .gguf."
            )


def _check_lora(files: Files, path: Path) -> None:
    held = header(path)
    able = any(map(_LORA.search, held)) or (files.family == "z_image" and any(map(_LOKR.search, held)))
    if not able:
        kind = "a LyCORIS of a kind that can't be loaded" if any(map(_LYCORIS.search, held)) else "no LoRA"
        raise UnknownModel(f"{path} is {kind}; give a LoRA for {TITLES[files.family]}.")
    _check_kin(files, path, held, "LoRA")


def _check_kin(files: Files, path: Path, held: Mapping[str, Held], what: str) -> None:
    """Raise UnknownModel where a file is of another family than the pipeline that it goes into."""
    theirs = _family(held)
    if not theirs and what != "LoRA":  # one for text encoders alone may be of either kind
        raise UnknownModel(f"The {what} {path} is of no family that Easel can draw with.")
    pattern = _ATTENTION if files.family == "z_image" else _CROSS
    ours, widths = _width(files), sorted(set(_widths(held, pattern)))
    if theirs == "unet":
        whose = next((_WIDTHS[w] for w in _widths(held, _CROSS) if w in _WIDTHS), "a Stable Diffusion of another size")
        stranger = files.family == "z_image" or (ours and any(w != ours for w in widths))
    else:
        whose = TITLES.get(theirs, theirs)
        stranger = bool(theirs) and (theirs != files.family or (ours and any(w != ours for w in widths)))
        whose += " of another size" if theirs == files.family else ""
    if stranger:
        sizes = f" ({widths[0]} channels where it has {ours})" if widths and ours else ""
        raise UnknownModel(
            f"The {what} {path} is made for {whose}, and the model in {files.folder} is {TITLES[files.family]}{sizes}; "
            f"give one for {TITLES[files.family]}."
        )


def _family(held: Mapping[str, Held]) -> str:
    """Return ``z_image``, ``unet``, another model's name, or nothing where the names do not tell."""
    for family, pattern in _KINDS.items():
        if any(map(pattern.search, held)):
            return family
    return ""


def _widths(held: Mapping[str, Held], pattern: re.Pattern[str]) -> Iterator[int]:
    for name, tensor in held.items():
        if pattern.search(name) and len(tensor.shape) > 1:
            yield tensor.shape[1]


def _width(files: Files) -> int:
    """Return what the pipeline's own config says is the width that ``_widths`` finds; 0 where it says nothing."""
    part, key = ("transformer", "dim") if files.family == "z_image" else ("unet", "cross_attention_dim")
    found = read(files.folder / part / "config.json").get(key)
    return found if isinstance(found, int) else 0
