"""The operator's ControlNets: the tables ``[control.NAME]`` of models.toml, and which model each of them is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from engine.contract import UnknownModel
from engine.families.recognition import widths
from engine.families.registry import spec_of, specs
from engine.families.spec import FamilySpec
from engine.folders import read
from engine.model_tables import CONTROL, HUB_ID, MAX_TITLE, NAME, Listed, Text, named_tables
from engine.regular_files import absolute
from engine.spec import ControlSpec, ModelSpec, is_hub_file
from engine.weights import PICKLES, TensorInfo, header, visible, weight_files

CONFIG = "config.json"
"""The file that makes a folder a ControlNet of diffusers."""

_KIND = r"^[a-z0-9][a-z0-9-]{0,19}$"
_MAX_KINDS = 12
_CLASS = "_class_name"

_PREFIX = "control_model."
"""Before the names of a ControlNet in its first publication."""

_HINTS = frozenset({"controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight"})
"""Tensors of every ControlNet of a UNet, in diffusers' layout and in the original one."""

_SIZED = ("add_embedding.", "label_emb.")
"""Beginnings of the tensors of a UNet's size conditioning."""

_OTHERS: Mapping[str, str] = {
    "lora_controlnet": "a Control-LoRA",
    "task_embedding": "a ControlNet++ (union)",
    "control_add_embedding.linear_1.weight": "a ControlNet++ (union)",
    "controlnet_x_embedder.weight": "a ControlNet for Flux",
}
"""Tensors of files that can't be used, and what such a file is."""


@dataclass(frozen=True, slots=True)
class ControlCatalogue:
    """The operator's ControlNets.

    Attributes:
        specs: In the order of the file; no two of a family share a kind.
        problems: One sentence for each table that is left out.
    """

    specs: tuple[ControlSpec, ...] = ()
    problems: tuple[str, ...] = ()


def read_controls(models_file: str) -> ControlCatalogue:
    """Return the ControlNets of ``models.toml``. Mistakes are returned and never raised.

    That the whole file can't be read is reported with its models.
    Reads a config or a header of each, so call it at start-up and not on an event loop.

    Args:
        models_file: Path of ``models.toml``; it may be missing or empty.
    """
    found: list[ControlSpec] = []
    problems: list[str] = []
    try:
        tables = dict(named_tables(models_file, CONTROL))
    except UnknownModel:
        return ControlCatalogue()
    for name, table in tables.items():
        try:
            spec = _Table(Path(models_file), name, table).spec()
            for other in found:
                if other.family == spec.family and (both := sorted(set(other.kinds) & set(spec.kinds))):
                    raise UnknownModel(
                        f"{models_file}, [{CONTROL}.{name}], kind: {', '.join(both)} for {spec_of(spec.family).title} "
                        f"is that of [{CONTROL}.{other.name}] already; remove one of the two."
                    )
        except UnknownModel as e:
            problems.append(str(e))
        else:
            found.append(spec)
    return ControlCatalogue(tuple(found), tuple(problems))


def with_controls(model: ModelSpec, controls: Sequence[ControlSpec]) -> ModelSpec:
    """Return a model with the ControlNets that fit it, and their kinds in its profile."""
    own = tuple(control for control in controls if control.family == model.profile.family and _fits(control, model))
    if not own:
        return model
    kinds = tuple(kind for control in own for kind in control.kinds)
    return replace(model, profile=replace(model.profile, controls=kinds), controls=own)


def config_of(tensors: Mapping[str, TensorInfo]) -> Mapping[str, object]:
    """Return what the tensors of a single file tell of its config; empty where it is no ControlNet."""
    names = {name.removeprefix(_PREFIX) for name in tensors}
    for family in specs().values():
        if family.control_marker and (marker := tensors.get(family.control_marker)) is not None:
            return {_CLASS: family.controlnet, family.keys.width_key: next(iter(marker.shape), 0)}
    if not names & _HINTS:
        return {}
    unet = next(family for family in specs().values() if family.denoiser == "unet" and family.controlnet)
    sized = any(name.startswith(_SIZED) for name in names)
    width = next(widths(tensors, unet.keys.width_pattern), 0)
    return {
        _CLASS: unet.controlnet,
        "addition_embed_type": "text_time" if sized else None,
        unet.keys.width_key: width,
    }


def family_of(config: Mapping[str, object]) -> FamilySpec | None:
    """Return the family that a ControlNet's config belongs to; None where Easel has none for it."""
    for family in specs().values():
        if not family.controlnet or config.get(_CLASS) != family.controlnet:
            continue
        width = config.get(family.keys.width_key)
        if isinstance(width, int) and width in family.keys.unsupported:
            continue
        if all(config.get(key) == value for key, value in family.controlnet_config.items()):
            return family
    return None


def _fits(control: ControlSpec, model: ModelSpec) -> bool:
    """Whether the widths of a ControlNet and of a model are equal, or one of them is not known."""
    family = spec_of(control.family)
    folder = Path(model.folder)
    if not control.width or not folder.is_dir():
        return True
    try:
        width = read(folder / family.denoiser / CONFIG).get(family.keys.width_key)
    except UnknownModel:  # reported when the model is loaded
        return True
    return not isinstance(width, int) or width == control.width


class _Keys(BaseModel):
    """The keys of a table ``[control.NAME]``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    kind: Annotated[
        list[Annotated[str, StringConstraints(pattern=_KIND)]],
        Listed,
        Field(min_length=1, max_length=_MAX_KINDS),
    ]
    source: Annotated[Text, Field(min_length=1)]
    family: Text = ""
    title: Annotated[Text, Field(max_length=MAX_TITLE)] = ""


_WANTED: Mapping[str, str] = {
    "kind": 'it must be a word of small letters, such as "canny", "depth" or "pose", or a list of such words',
    "source": "it must name a folder, a .safetensors file or a hub id",
    "family": "it must be the name of a family",
    "title": f"it must be a text of at most {MAX_TITLE} characters",
}


class _Table:
    """One table. Every mistake goes through ``fail``."""

    def __init__(self, path: Path, name: str, table: object) -> None:
        self.path = path
        self.name = name
        if not name or not isinstance(table, dict):
            raise UnknownModel(
                f"{path}, [{CONTROL}]: a ControlNet is a table of its own, [{CONTROL}.NAME]; a model can't be called "
                f"{CONTROL!r}."
            )
        self.table = table

    def fail(self, key: str, problem: str) -> NoReturn:
        raise UnknownModel(f"{self.path}, [{CONTROL}.{self.name}]{', ' if key else ''}{key}: {problem}.")

    def spec(self) -> ControlSpec:
        if not NAME.fullmatch(self.name):
            self.fail("", "a ControlNet's name is up to 40 lower-case letters, digits, '.', '_' and '-'")
        try:
            keys = _Keys.model_validate(self.table)
        except ValidationError as e:
            key = str(e.errors()[0]["loc"][0])
            self.fail(key, _WANTED.get(key, f"there is no such key; there are {', '.join(sorted(_WANTED))}"))
        able = {name: family for name, family in specs().items() if family.controlnet}
        if keys.family and keys.family not in able:
            self.fail("family", f"there is no family {keys.family!r} with ControlNets; there are {', '.join(able)}")
        source, config = self.found(keys.source)
        family = able[keys.family] if keys.family else None
        width = 0
        if config is not None:
            own = family_of(config)
            if own is None:
                self.fail("source", f"it holds a {config.get(_CLASS)!r}, which no model of Easel's draws with")
            if family is not None and own is not family:
                self.fail("family", f"the ControlNet in {source} is made for {own.title}, not for {family.title}")
            family = own
            stated = config.get(own.keys.width_key)
            width = stated if isinstance(stated, int) else 0
        if family is None:
            self.fail("family", f"say which family a ControlNet of a hub is for: {', '.join(able)}")
        kinds = tuple(dict.fromkeys(keys.kind))
        return ControlSpec(self.name, keys.title or self.name, kinds, family.name, source, width)

    def found(self, value: str) -> tuple[str, Mapping[str, object] | None]:
        """Return the source, a hub id or an absolute path, and its config; None for what is on a hub."""
        if value.lower().endswith(PICKLES):
            self.fail("source", f"{value!r} is a pickle, which can run code; get it as .safetensors")
        try:
            path = absolute(self.path.parent, value)
            is_folder, is_file = path.is_dir(), path.is_file()
        except (OSError, ValueError):
            self.fail("source", f"{value!r} is no path")
        try:
            if is_folder:
                return str(path), folder_config(path)
            if is_file and path.suffix == ".safetensors":
                return str(path), _file_config(path)
        except UnknownModel as e:
            self.fail("source", str(e).rstrip("."))
        if is_hub_file(value) and value.endswith(".safetensors"):
            return value, None
        if not HUB_ID.fullmatch(value):
            self.fail(
                "source", f"{value!r} is neither a hub id (owner/name) nor a folder or .safetensors file that is there"
            )
        return value, None


def folder_config(folder: Path) -> Mapping[str, object]:
    """Return a folder's config; raise UnknownModel where its weights are missing, pickles or damaged."""
    config = read(folder / CONFIG)
    found = weight_files(folder)
    if not found:
        pickles = [path.name for suffix in PICKLES for path in visible(folder, f"*{suffix}")]
        why = f"has its weights as a pickle ({pickles[0]}), which can run code" if pickles else "has no weights"
        raise UnknownModel(f"The ControlNet in {folder} {why}; get it as .safetensors.")
    for path in found:
        header(path)
    return config


def _file_config(path: Path) -> Mapping[str, object]:
    """Return what a single file tells of its config. Raises UnknownModel where it is damaged or no ControlNet."""
    tensors = header(path)
    for name, what in _OTHERS.items():
        if name in tensors:
            raise UnknownModel(f"{path} is {what}, which Easel can't draw with.")
    config = config_of(tensors)
    if not config:
        raise UnknownModel(f"{path} is no ControlNet, by the names of its tensors.")
    return config
