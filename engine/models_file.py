"""Reads models.toml, the operator's own models. Each mistake becomes one sentence that names file, table and key.

A table with a mistake is left out; the models of the other tables can be drawn with.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from engine.contract import MAX_CLIP_SKIP, NegativePromptSupport, Profile, Range, UnknownModel
from engine.families.registry import known_models, spec_of
from engine.families.spec import priced
from engine.folders import index_of, profile_of, sized
from engine.hub import pipelines
from engine.hub.names import is_repo
from engine.hub.needs import CONFIGS, WITHOUT_DENOISER
from engine.hub.selection import WHOLE, Selection
from engine.model_tables import COMFY, CONTROL, HUB_ID, LORA, NAME, PLACEMENT, tables
from engine.regular_files import absolute, open_regular
from engine.samplers import name_of
from engine.spec import Lora, ModelSpec, is_file, is_hub_file
from engine.weights import PICKLES, denoiser_parameters

_UNGUIDED = 1.0
_LARGEST_NUMBER = 1e9
_PROBLEM: Literal["problem"] = "problem"

log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """What ``models.toml`` holds.

    Attributes:
        specs: The valid models, in the order of the file.
        rejected: Why each other table is left out, by its name: one sentence that names the file, the table and the
            key.
        unreadable: Why the whole file can't be read; empty where it can.
    """

    specs: tuple[ModelSpec, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    unreadable: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """All sentences about mistakes."""
        return (*filter(None, [self.unreadable]), *self.rejected.values())


def read(path: Path, models_dir: str = "") -> ModelsFile:
    """Read ``models.toml``; a missing file holds no models.

    Mistakes are returned and never raised.

    Args:
        path: The file. Paths in it are relative to its folder.
        models_dir: Folder of downloaded models. A hub id that is in no table of Easel's is read from there; empty: none is.
    """
    try:
        found = tables(path)
    except UnknownModel as e:
        return ModelsFile(unreadable=str(e))
    specs, rejected = [], {}
    for name, table in found.items():
        if name in (LORA, CONTROL, PLACEMENT, COMFY):
            continue
        try:
            specs.append(_Table(path, models_dir, name, table).spec())
        except UnknownModel as e:
            rejected[name] = str(e)
        except Exception as e:  # an unexpected failure must not take the other models away
            log.exception("a table of %s can't be read", path)
            rejected[name] = f"{path}, [{name}]: it can't be read ({type(e).__name__}: {e})."
    return ModelsFile(tuple(specs), rejected)


def _problem(sentence: str) -> PydanticCustomError:
    # The sentence is a value and not the template, since it may contain braces.
    return PydanticCustomError(_PROBLEM, "{sentence}", {"sentence": sentence})


def _or_else(sentence: str) -> WrapValidator:
    """Return a validator that replaces pydantic's messages by a sentence, in which ``{value}`` is what was given."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError as e:
            if e.errors()[0]["type"] == _PROBLEM:  # a nested field has said it better
                raise
            raise _problem(sentence.replace("{value}", repr(value))) from None

    return WrapValidator(check)


_Text = Annotated[str, StringConstraints(strip_whitespace=True), _or_else("it must be a text in quotes")]
_Number = (
    Annotated[int, Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
    | Annotated[float, Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER, allow_inf_nan=False)]
)


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _LoraTable(_Strict):
    source: Annotated[_Text, Field(min_length=1)]
    weight: Annotated[
        float,
        Field(ge=-4, le=4, allow_inf_nan=False),
        _or_else("a weight is a number from -4 to 4, not {value}"),
    ] = 1.0


_LoraEntry = Annotated[
    _LoraTable,
    BeforeValidator(lambda given: {"source": given} if isinstance(given, str) else given),
    _or_else("each must have a source and may have a weight, and nothing else"),
]


class _RangeTable(_Strict):
    default: _Number
    low: _Number
    high: _Number


_NUMBER_OR_RANGE: TypeAdapter[int | float | _RangeTable] = TypeAdapter(_Number | _RangeTable)


def _limits(given: object, info: ValidationInfo) -> Range[Any]:
    """Return a range from ``30`` (the usual range, widened to it) or ``{ default, low, high }``.

    The context of the validation is the profile with the usual ranges.
    """
    name = str(info.field_name)
    usual: Range[Any] = getattr(info.context, name)
    try:
        parsed = _NUMBER_OR_RANGE.validate_python(given, strict=True)
    except ValidationError:
        raise _problem(
            f"it must be a number or {{ default = {usual.default}, low = {usual.low}, high = {usual.high} }}"
        ) from None
    if isinstance(parsed, _RangeTable):
        found = Range(parsed.default, parsed.low, parsed.high)
    else:
        found = Range(parsed, min(usual.low, parsed), max(usual.high, parsed))
    if name == "steps" and not all(isinstance(number, int) for number in (found.default, found.low, found.high)):
        raise _problem("steps are whole numbers")
    if not found.low <= found.default <= found.high:
        raise _problem("the default must lie between low and high")
    if name == "guidance":
        if not 0 <= found.low <= found.high <= 100:
            raise _problem("it is 0 to 100")
        return Range(float(found.default), float(found.low), float(found.high))
    if not 1 <= found.low <= found.high <= 1000:
        raise _problem("they are 1 to 1000")
    return found


def _scheduler(name: str, info: ValidationInfo) -> str:
    schedulers = spec_of(info.context.family).schedulers if info.context else ()
    if name and name not in schedulers:
        raise _problem(f"there is no {name!r}; there are {', '.join(schedulers)}")
    return name


class _Sources(BaseModel):
    """The keys that name files and models."""

    model_config = ConfigDict(strict=True, extra="ignore")

    source: _Text = ""
    like: _Text = ""
    base: _Text = ""
    transformer: _Text = ""
    loras: Annotated[
        list[_LoraEntry],
        _or_else('it must be a list, such as [{ source = "style.safetensors", weight = 0.8 }]'),
    ] = []


class _Settings(BaseModel):
    """The keys that change the profile; validated with the profile of the defaults as context."""

    model_config = ConfigDict(strict=True, extra="ignore")

    title: _Text = ""
    licence: _Text = ""
    negative: _Text | None = None
    languages: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[^\W\d_]+$")]],
        Field(min_length=1),
        _or_else('it must be a list of language tags, such as ["en", "zh"]'),
    ] = []
    size: Annotated[
        int,
        Field(ge=64, le=4096),
        _or_else("it is the side of the model's native square, 64 to 4096 pixels, not {value}"),
    ] = 0
    steps: Annotated[Range[int] | None, PlainValidator(_limits)] = None
    guidance: Annotated[Range[float] | None, PlainValidator(_limits)] = None
    scheduler: Annotated[_Text, WrapValidator(lambda v, handler, info: _scheduler(handler(v), info))] = ""
    scheduler_config: Annotated[
        dict[str, str | int | float | bool] | None,
        _or_else("it must be a table of texts, numbers and true or false"),
    ] = None
    clip_skip: Annotated[
        int, Field(ge=1, le=MAX_CLIP_SKIP), _or_else(f"it is 1 to {MAX_CLIP_SKIP}, as A1111 counts, not {{value}}")
    ] = 0
    who: Annotated[
        list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]],
        BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
        Field(min_length=1),
        _or_else('it must be "everyone", "admins" or a list of roles, such as ["admins", "1234567890"]'),
    ] = ["everyone"]


KEYS = frozenset(_Sources.model_fields) | frozenset(_Settings.model_fields)
"""The keys that a table may have."""


class _Table:
    """One table of the file. Every mistake goes through ``fail``."""

    def __init__(self, path: Path, models_dir: str, name: str, table: object) -> None:
        self.path = path
        self.models_dir = models_dir
        self.name = name
        if not isinstance(table, dict):
            raise UnknownModel(f"{path}: {name!r} stands outside of a table; write it under a [name of the model].")
        if not NAME.fullmatch(name):
            raise UnknownModel(
                f"{path}, [{name}]: a model's name is up to 40 lower-case letters, digits, '.', '_' and '-', "
                "since people type it."
            )
        self.table: Mapping[str, Any] = table

    def fail(self, key: str, problem: str) -> NoReturn:
        raise UnknownModel(f"{self.path}, [{self.name}], {key}: {problem}.")

    def parsed(self, model: type[M], context: Profile | None = None) -> M:
        """Return the keys of the table that a pydantic model has."""
        try:
            return model.model_validate(self.table, context=context)
        except ValidationError as e:
            first = e.errors()[0]
            self.fail(str(first["loc"][0]), first["msg"])

    def spec(self) -> ModelSpec:
        for key in self.table:
            if key not in KEYS:
                self.fail(key, f"there is no such key; there are {', '.join(sorted(KEYS))}")
        sources = self.parsed(_Sources)
        transformer = self.file("transformer", (".safetensors", ".gguf"), sources.transformer)
        source = self.source(sources.source, whole=not transformer)
        base = self.pipeline("base", sources.base)
        if transformer:
            # The pipeline below the transformer may be given as base or as source.
            base = base or source or self.fail("base", "a transformer alone needs the pipeline that it goes into")
            source = source or transformer
        elif is_file(source) and not base:
            example = self.like_of("", sources.like).source if "like" in self.table else "a hub id or a folder"
            self.fail("base", f"a single file needs the pipeline whose configs it is read with, such as {example}")
        elif base and not is_file(source):
            self.fail("base", "only a single file or a transformer alone is put over a base")
        selection = WITHOUT_DENOISER if transformer else CONFIGS if base else WHOLE
        profile = self.profile(self.like_of(base or source, sources.like, selection))
        family = spec_of(profile.family)
        if is_file(source) and not transformer and family.describe is not None:
            # Of a pipeline of any class, a file gives the denoiser, and the base all else.
            transformer = source
        if transformer and family.describe is not None:
            profile = self.counted(profile, base, transformer)
        if is_file(source) and not transformer and not family.single_file:
            self.fail(
                "source",
                f"{family.title} can't be had as a single file; give its transformer as transformer, over a base",
            )
        loras = tuple(Lora(self.file("loras", (".safetensors",), one.source), one.weight) for one in sources.loras)
        return ModelSpec(replace(profile, source=source), base, transformer, loras)

    def source(self, value: str, *, whole: bool) -> str:
        if not value:
            return self.fail("source", "it must name a hub id, a folder or a .safetensors file") if whole else ""
        return (
            self.file("source", (".safetensors",), value) if _looks_like_file(value) else self.pipeline("source", value)
        )

    def pipeline(self, key: str, value: str) -> str:
        """Return a hub id, or the absolute path of a folder with a pipeline; empty where none is named."""
        if not value:
            return ""
        folder = self.absolute(value)
        if self.exists(key, folder) and folder.is_dir():
            try:
                index_of(folder)
            except UnknownModel as e:
                self.fail(key, str(e).rstrip("."))
            return str(folder)
        if not HUB_ID.fullmatch(value):
            self.fail(key, f"{value!r} is neither a hub id (owner/name) nor a folder that is there")
        return value

    def file(self, key: str, suffixes: tuple[str, ...], value: str) -> str:
        """Return a hub file, or the absolute path of a file; empty where none is named."""
        if not value:
            return ""
        if value.lower().endswith(PICKLES):
            self.fail(key, f"{value!r} is a pickle, which can run code; get it as .safetensors")
        if not value.lower().endswith(suffixes):
            self.fail(key, f"{value!r} must end in {' or '.join(suffixes)}")
        path = self.absolute(value)
        if not self.exists(key, path):
            if is_hub_file(value):
                return value
            self.fail(key, f"there is no file {path}")
        try:
            open_regular(path).close()
        except OSError as e:
            self.fail(key, f"{path} can't be read: {e.strerror or e}")
        return str(path)

    def exists(self, key: str, path: Path) -> bool:
        try:
            return path.exists()
        except OSError as e:
            self.fail(key, f"{path} can't be read: {e.strerror or e}")

    def absolute(self, value: str) -> Path:
        try:
            return absolute(self.path.parent, value)
        except ValueError:
            return Path("/nonexistent")

    def like_of(self, folder: str, like: str, selection: Selection = WHOLE) -> Profile:
        """Return the profile that gives the defaults: that of the model named ``like``, or of the pipeline.

        Args:
            folder: Folder or hub id of the pipeline.
            like: Name of a known model; empty where the pipeline says it.
            selection: The files of a hub's pipeline that must be here.
        """
        names = {model.profile.name: model.profile for model in known_models()}
        if like and like not in names:
            self.fail("like", f"there is no model {like!r}; there are {', '.join(names)}")
        own = profile_of(Path(folder)) if folder and Path(folder).is_dir() else None
        if own is None:
            own = next((p for p in names.values() if p.source.lower() == folder.lower()), None)
        if own is None and self.models_dir and is_repo(folder):
            own = self.downloaded(folder, selection, required=not like)
        if like and own is not None and own.family != names[like].family:
            self.fail("like", f"{like} is of another family than {folder}")
        if like:
            return names[like] if own is None else replace(names[like], parameters=own.parameters, expands=own.expands)
        return own or self.fail("like", f"say which of {', '.join(names)} it is built like")

    def downloaded(self, repo: str, selection: Selection, *, required: bool) -> Profile | None:
        """Return the profile of a pipeline from a hub, which its files give.

        None where they give none and it is not required: with ``like``, a pull must be able to mend what is damaged.
        """
        try:
            found = pipelines.profile(repo, self.models_dir, selection)
        except UnknownModel as e:
            if not required:
                return None
            self.fail("source", str(e).rstrip("."))
        if found is None and required:
            names = ", ".join(model.profile.name for model in known_models())
            self.fail(
                "like",
                f"{repo} must be downloaded before its files can say what it is: run `easel model pull {repo}`, or say "
                f"which of {names} it is built like",
            )
        return found

    def counted(self, profile: Profile, base: str, transformer: str) -> Profile:
        """Return the profile with the number of parameters in a transformer's file, where both are on this disk."""
        if not (Path(base).is_dir() and Path(transformer).is_absolute()):
            return profile
        denoiser = index_of(Path(base))[1].denoiser
        count = denoiser_parameters(Path(transformer))
        return priced(replace(profile, parameters={**profile.parameters, denoiser: count})) if count else profile

    def profile(self, usual: Profile) -> Profile:
        """Return the profile with the table's settings; ``usual`` gives the defaults."""
        family = spec_of(usual.family)
        if not family.schedulers and self.table.keys() & {"scheduler", "scheduler_config"}:
            self.fail("scheduler", f"{family.title} is drawn with its own scheduler")
        settings = self.parsed(_Settings, usual)
        usual = sized(usual, settings.size) if settings.size else usual
        guidance = settings.guidance or usual.guidance
        honour = NegativePromptSupport.WITH_GUIDANCE if guidance.high > _UNGUIDED else NegativePromptSupport.NEVER
        if settings.negative and honour is NegativePromptSupport.NEVER:
            self.fail("negative", "this model draws without guidance, so a negative prompt does nothing")
        negative = usual.negative_default if settings.negative is None else settings.negative
        if settings.clip_skip and not usual.clip_skip:
            self.fail("clip_skip", f"{family.title} has no CLIP text encoder")
        scheduler = settings.scheduler or usual.scheduler
        config = usual.scheduler_config if settings.scheduler_config is None else settings.scheduler_config
        return priced(
            replace(
                usual,
                name=self.name,
                title=settings.title or self.name,
                # The licence of a fine-tune may differ from that of its parent.
                licence=settings.licence,
                licence_terms=(),
                steps=settings.steps or usual.steps,
                guidance=guidance,
                negative=honour,
                negative_default="" if honour is NegativePromptSupport.NEVER else negative,
                languages=tuple(tag.lower() for tag in settings.languages) or usual.languages,
                scheduler=scheduler,
                scheduler_config=dict(config),
                sampler=name_of(scheduler, config) if scheduler else usual.sampler,
                clip_skip=settings.clip_skip or usual.clip_skip,
                who=tuple(settings.who),
            )
        )


def _looks_like_file(source: str) -> bool:
    return source.lower().endswith((".safetensors", ".gguf", *PICKLES))
