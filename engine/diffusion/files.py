"""Checks a model's files before they are loaded: no pickles, no code, no truncated files, no other family's weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from engine.contract import UnknownModel
from engine.diffusion import leftovers, objective, scaled_weights, svdquant
from engine.diffusion.memory.types import StoredWeights
from engine.families.recognition import LORA_TENSORS, UNSUPPORTED, base_weights, families_of, title_of, widths
from engine.families.registry import specs
from engine.families.spec import FamilySpec
from engine.folders import family_of, index_of, read, read_value
from engine.regular_files import JSON_BYTES, read_bytes
from engine.spec import Lora, ModelSpec
from engine.weights import PICKLES, TensorInfo, common_format, gguf_header, header, only_format, visible, weight_files

_TEXTS = (".txt", ".jinja", ".model")

GGUF_FORMATS = frozenset(
    {
        "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "Q3_K", "Q2_K", "IQ4_NL",
        "IQ4_XS",
    }
)  # fmt: skip
"""Formats of a GGUF file that diffusers reads."""

_EDM = frozenset({"edm_mean", "edm_std", "edm_vpred"})
_LYCORIS = re.compile(r"oft_|glora|[._][ab][12]\.weight$|\b[wb]_norm$")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_SCALED = (".scale_weight", ".weight_scale", ".comfy_quant", "scaled_fp8")
_SCALE = re.compile(r"scale(?!_factor$)|amax|absmax|comfy_quant|quant_state|_inv$")
_OWN_SCALE = re.compile(r"(?:_norm\.scale|(?:^|\.)scale_shift_table)$")
"""Ends the name of a norm's weight in the original layout of Flux, and of a modulation's: no scales of other weights."""

_WEIGHT = re.compile(r"(?:in_proj_)?(?:weight|bias)|position_ids|logit_scale|v_pred|ztsnr")
"""Last component of a tensor's name. In an fp8 file, any other tensor of a layer is a scale, whatever its name."""


@dataclass(frozen=True, slots=True)
class Files:
    """A model's files on this machine.

    Attributes:
        family: Name of its family.
        folder: The pipeline: all of it, or the configs of a single file, or all parts but the denoiser.
        whole: A single file with all weights; None where they are in ``folder``.
        denoiser: A transformer or UNet alone, ``.safetensors`` (SVDQuant too) or ``.gguf``; None where it is in ``folder``.
        loras: The LoRAs to add; their sources are paths.
    """

    family: str
    folder: Path
    whole: Path | None = None
    denoiser: Path | None = None
    loras: tuple[Lora, ...] = ()

    @property
    def named(self) -> Path:
        """The file or folder that the model is named after in messages."""
        return self.denoiser or self.whole or self.folder

    @property
    def spec(self) -> FamilySpec:
        """Its family's spec. Raises UnknownModel where the family takes any class, and the folder holds no pipeline."""
        return family_of(self.family, self.folder)


def locate(spec: ModelSpec, folder_of: Callable[[str], str], file_of: Callable[[str], str]) -> Files:
    """Return where a model's files are.

    Args:
        spec: The model.
        folder_of: Returns the folder of a hub id or a folder; downloads it if necessary.
        file_of: Returns the path of a hub file or a path; downloads it if necessary.
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
    """Check every file that is going to be loaded.

    Raises:
        UnknownModel: A file is missing, damaged, a pickle, of another family, or needs code to be run; one sentence.
    """
    named, family = index_of(files.folder)
    if family.name != files.family:
        raise UnknownModel(
            f"The pipeline in {files.folder} is a {named}, but this model is of the family {files.spec.title}; "
            "name another one as its base."
        )
    for name, part in family.parts.items():
        _check_small_files(files.folder / name)
        if part.weights and files.whole is None and not (files.denoiser and name == family.denoiser):
            _check_part(files.folder / name)
    if files.whole is not None:
        _check_whole(files, files.whole)
    if files.denoiser is not None:
        _check_denoiser(files, files.denoiser)
    if (path := files.whole or files.denoiser) is not None and not svdquant.form_of_file(files.denoiser):
        if family.schedulers:
            objective.check(path)
        leftovers.check(path, family, files.folder, whole=files.whole is not None)
    for lora in files.loras:
        _check_lora(files, Path(lora.source))


def stored_weights(files: Files) -> StoredWeights:
    """Return how a model's files hold its weights.

    Raises:
        UnknownModel: A file can't be read.
    """
    formats, mapped = {}, set()
    for name, part in files.spec.parts.items():
        alone = files.whole or (files.denoiser if name == files.spec.denoiser else None)
        if part.weights and (alone is None or not is_packed(alone)):
            found = weight_files(files.folder / name) if alone is None else [alone]
            formats[name] = common_format(found)
            if only_format(found):
                mapped.add(name)
    return StoredWeights(formats, frozenset(mapped))


def is_packed(path: Path) -> bool:
    """Whether a denoiser's file is quantised and stays as it is: GGUF or SVDQuant. Raises UnknownModel."""
    return path.suffix.lower() == ".gguf" or bool(svdquant.form_of_file(path))


def check_single(path: Path) -> None:
    """Check a model that is no part of a pipeline, such as a ControlNet: a folder with a config, or a single file.

    Raises UnknownModel as ``check`` does.
    """
    if path.is_dir():
        _check_small_files(path)
        _check_part(path)
    else:
        _check_formats(path, _plain_header(path, header(path)))


def _check_objective(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    if strange := next((name for name in tensors if name.partition(".")[0] in _EDM), None):
        raise UnknownModel(f"{path} was trained as EDM ({strange}), which Easel can't draw with.")


def _check_small_files(folder: Path) -> None:
    """Check the files of a part that the libraries read in addition to its weights: they are regular and of a bounded size."""
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
                f"The model's file {index} names {strangers[0][:80]!r}, which is no .safetensors file in the same folder; "
                "copy the model again."
            )
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing and not any("index" not in p.name and "-of-" not in p.name for p in found):
            raise UnknownModel(f"The model in {folder.parent} is not whole: {folder.name}/{missing[0]} is missing.")
    if not found:
        pickles = [p.name for suffix in PICKLES for p in visible(folder, f"*{suffix}")]
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
        tensors = header(path)
        if not quantised:
            _check_formats(path, tensors)


def _check_whole(files: Files, path: Path) -> None:
    if path.suffix != ".safetensors":  # the library would take it for a pickle
        raise UnknownModel(f"{path} must end in .safetensors, in small letters; rename it.")
    tensors = header(path)
    _check_formats(path, _plain_header(path, tensors))
    if not files.spec.single_file:
        raise UnknownModel(
            f"{path} can't be loaded as one file: {files.spec.title}'s transformer goes over a base, as transformer."
        )
    _check_family(files, path, tensors, "single file")
    _check_objective(path, tensors)
    missing = [
        title
        for title, begins in files.spec.single_file.items()
        if not any(name.startswith(begins) for name in tensors)
    ]
    if missing:
        raise UnknownModel(
            f"{path} holds no {' and no '.join(missing)}, so it is no whole model; where it is a UNet alone, "
            "give it as transformer, over a base."
        )


def _check_denoiser(files: Files, path: Path) -> None:
    kind = min(files.spec.parts[files.spec.denoiser].classes)
    if kind not in SINGLE_FILE_LOADABLE_CLASSES:
        raise UnknownModel(
            f"{path} can't be loaded alone: diffusers reads no {kind} from a single file; give a folder with all parts."
        )
    if path.suffix.lower() == ".gguf":
        found = gguf_header(path)
        if name := next((name for name, tensor in found.items() if tensor.dtype not in GGUF_FORMATS), ""):
            raise UnknownModel(
                f"The model's file {path} has weights in {found[name].dtype} ({name[:80]}), which can't be read; "
                "get it in another format, such as Q8_0 or Q4_K_M."
            )
        _check_family(files, path, found, "transformer")
        _check_objective(path, found)
        return
    tensors = header(path)
    if svdquant.form_of(tensors):
        svdquant.check(path, kind)
        _check_family(files, path, tensors, "transformer")
        if files.loras:
            raise UnknownModel(f"LoRAs can't be added to {path}, which is in SVDQuant: {svdquant.OTHERWISE}.")
        return
    _check_formats(path, _plain_header(path, tensors))
    _check_family(files, path, tensors, "transformer")
    _check_objective(path, tensors)


def _plain_header(path: Path, tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """Return what a file holds beside the scales of its weights; raise UnknownModel where these can't be read."""
    return scaled_weights.plain_header(tensors, scaled_weights.read_scales(path, tensors))


def _check_formats(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise UnknownModel where weights need a scale or a code book that the libraries would not apply."""
    if svdquant.form_of(tensors):
        raise UnknownModel(
            f"The model's file {path} is in SVDQuant, which is loaded only as transformer, over a base: name it so in "
            "models.toml."
        )
    for name, tensor in tensors.items():
        if len(tensor.shape) > 1 and tensor.dtype not in _FLOATS and not name.endswith("position_ids"):
            raise UnknownModel(
                f"The model's file {path} has weights in {tensor.dtype} ({name[:80]}), which can't be read; get it in bf16 or as .gguf."
            )
    keys = [spec.keys for spec in specs().values()]
    denoiser = re.compile(rf"(?:model\.diffusion_model\.)?(?:{'|'.join(key.layers for key in keys)})\.")
    eights = {name.rpartition(".")[0] for name, tensor in tensors.items() if tensor.dtype.startswith("F8")}
    for name in tensors:
        layer, _, last = name.rpartition(".")
        own = any(key.parameters.fullmatch(last) for key in keys) or _OWN_SCALE.search(name) is not None
        scale = _SCALE.search(name) is not None and last != "logit_scale" and not own
        weight = own or _WEIGHT.fullmatch(last) is not None
        stray = not weight and bool(eights) and (layer in eights or denoiser.match(name) is not None)
        if (scale and (eights or name.endswith(_SCALED))) or stray:
            raise UnknownModel(
                f"The model's file {path} has scaled fp8 weights ({name[:80]}), which can't be read; get it in bf16 or as .gguf."
            )


def _check_lora(files: Files, path: Path) -> None:
    tensors = header(path)
    if not files.spec.lora_parts:
        raise UnknownModel(f"{path} can't be added: LoRAs for {files.spec.title} are not supported.")
    if not any(map(LORA_TENSORS.search, tensors)):
        kind = "a LyCORIS of a kind that can't be loaded" if any(map(_LYCORIS.search, tensors)) else "no LoRA"
        raise UnknownModel(f"{path} is {kind}; give a LoRA for {files.spec.title}.")
    _check_family(files, path, {**tensors, **base_weights(tensors)}, "LoRA")


def _check_family(files: Files, path: Path, tensors: Mapping[str, TensorInfo], what: str) -> None:
    """Raise UnknownModel where a file is of another family than the pipeline that it goes into."""
    family = files.spec
    # A file for a pipeline of any class is compared with the configs of its base alone.
    if family.describe is not None and what != "LoRA":
        return
    families = families_of(tensors)
    foreign = (
        "" if families else next((t for t, pattern in UNSUPPORTED.items() if any(map(pattern.search, tensors))), "")
    )
    if not families and not foreign:
        if what == "LoRA":  # one for text encoders alone may be of any family
            return
        raise UnknownModel(f"The {what} {path} is of no family that Easel can draw with.")
    ours, theirs = _width(files), sorted(set(widths(tensors, family.keys.width_pattern)))
    other_width = bool(ours) and any(width != ours for width in theirs)
    if family in families and not other_width:
        return
    whose = foreign or title_of(families, tensors, own=family in families)
    sizes = f" ({theirs[0]} channels where it has {ours})" if theirs and ours else ""
    raise UnknownModel(
        f"The {what} {path} is made for {whose}, and the model in {files.folder} is {family.title}{sizes}; "
        f"give one for {family.title}."
    )


def _width(files: Files) -> int:
    """Return the width that the denoiser's config states, which ``widths`` finds in weights; 0 where it has none."""
    found = read(files.folder / files.spec.denoiser / "config.json").get(files.spec.keys.width_key)
    return found if isinstance(found, int) else 0
