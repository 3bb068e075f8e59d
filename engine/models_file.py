"""Reads models.toml, the operator's own models; every mistake in it is one sentence that names file, table and key.

A table with a mistake is left out, and the others can be drawn with.
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from engine.contract import NegativePromptSupport, Profile, Range, UnknownModel
from engine.folders import index_of, profile_of, sized
from engine.profiles import known, priced
from engine.regular_files import open_regular, read_text
from engine.spec import Lora, ModelSpec, is_file, is_hub_file

KEYS = frozenset(
    {
        "source", "like", "base", "transformer", "loras", "title", "steps", "guidance", "size", "negative",
        "licence", "languages", "scheduler", "scheduler_config",
    }
)  # fmt: skip
"""What a table may say."""

SCHEDULERS = (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "DDIMScheduler",
    "LCMScheduler",
)
"""Schedulers that a model of the SDXL and SD 1.5 families can be drawn with."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_UNGUIDED = 1.0
_MOST_NUMBER = 1e9

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """What ``models.toml`` holds.

    Attributes:
        specs: The models that can be drawn with, in its order.
        rejected: Why each other table is left out, by its name: one sentence that names the file, the table and the
            key.
        unreadable: Why nothing in it can be read; empty where it can.
    """

    specs: tuple[ModelSpec, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    unreadable: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """Every sentence on what is wrong."""
        return (*filter(None, [self.unreadable]), *self.rejected.values())


def read(path: Path) -> ModelsFile:
    """Read ``models.toml``; it holds nothing when there is no such file.

    Paths in it are relative to its folder. It is read at start-up. What is wrong is told, and never raised.
    """
    try:
        tables = tomllib.loads(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return ModelsFile()
    except UnicodeDecodeError as e:
        return ModelsFile(unreadable=f"{path} can't be read as TOML: it is no UTF-8 ({e}); save it as UTF-8.")
    except OSError as e:
        return ModelsFile(unreadable=f"{path} can't be read as TOML: {e.strerror or e}.")
    except ValueError as e:
        return ModelsFile(unreadable=f"{path} can't be read as TOML: {e}.")
    except RecursionError:
        return ModelsFile(unreadable=f"{path} can't be read as TOML: it is nested too deeply.")
    specs, rejected = [], {}
    for name, table in tables.items():
        try:
            specs.append(_Table(path, name, table).spec())
        except UnknownModel as e:
            rejected[name] = str(e)
        except Exception as e:  # whatever a table leads to, the other models are drawn with
            log.exception("a table of %s can't be read", path)
            rejected[name] = f"{path}, [{name}]: it can't be read ({type(e).__name__}: {e})."
    return ModelsFile(tuple(specs), rejected)


class _Table:
    """One table of the file. Every problem goes through ``fail``."""

    def __init__(self, path: Path, name: str, table: object) -> None:
        self.path = path
        self.name = name
        if not isinstance(table, dict):
            raise UnknownModel(f"{path}: {name!r} stands outside of a table; write it under a [name of the model].")
        self.table: Mapping[str, Any] = table

    def fail(self, key: str, problem: str) -> NoReturn:
        raise UnknownModel(f"{self.path}, [{self.name}], {key}: {problem}.")

    def spec(self) -> ModelSpec:
        if not _NAME.fullmatch(self.name):
            raise UnknownModel(
                f"{self.path}, [{self.name}]: a model's name is up to 40 lower-case letters, digits, '.', '_' and '-', "
                "since people type it."
            )
        for key in self.table:
            if key not in KEYS:
                self.fail(str(key), f"there is no such key; there are {', '.join(sorted(KEYS))}")
        transformer = self.file("transformer", (".safetensors", ".gguf"))
        source = self.source(whole=not transformer)
        base = self.pipeline("base")
        if transformer:
            # The whole pipeline below the transformer may be called source too.
            base = base or source or self.fail("base", "a transformer alone needs the pipeline that it goes into")
            source = source or transformer
        elif is_file(source) and not base:
            self.fail("base", "a single file needs the pipeline whose configs it is read with, such as "
                      f"{self.like_of('').source if 'like' in self.table else 'a hub id or a folder'}")  # fmt: skip
        elif base and not is_file(source):
            self.fail("base", "only a single file or a transformer alone is put over a base")
        profile = self.profile(base or source, source)
        if profile.family == "z_image" and is_file(source) and not transformer:
            self.fail(
                "source", "Z-Image can't be had as a single file; give its transformer as transformer, over a base"
            )
        return ModelSpec(profile, base, transformer, self.loras())

    def source(self, *, whole: bool) -> str:
        source = self.text("source")
        if not source:
            return self.fail("source", "it must name a hub id, a folder or a .safetensors file") if whole else ""
        return self.file("source", (".safetensors",)) if _looks_like_file(source) else self.pipeline("source")

    def pipeline(self, key: str) -> str:
        """Return a hub id, or the absolute path of a folder with a pipeline."""
        value = self.text(key)
        if not value:
            return ""
        folder = self.here(value)
        if self.is_there(key, folder) and folder.is_dir():
            try:
                index_of(folder)
            except UnknownModel as e:
                self.fail(key, str(e).rstrip("."))
            return str(folder)
        if not _HUB_ID.fullmatch(value):
            self.fail(key, f"{value!r} is neither a hub id (owner/name) nor a folder that is there")
        return value

    def file(self, key: str, suffixes: tuple[str, ...], given: object = None) -> str:
        """Return a hub file, or the absolute path of a file that is there; empty where none is named."""
        value = self.text(key) if given is None else given
        if not value:
            return ""
        if not isinstance(value, str):
            self.fail(key, "it must be a text in quotes")
        if value.lower().endswith(_PICKLES):
            self.fail(key, f"{value!r} is a pickle, which can run code; get it as .safetensors")
        if not value.lower().endswith(suffixes):
            self.fail(key, f"{value!r} must end in {' or '.join(suffixes)}")
        path = self.here(value)
        if not self.is_there(key, path):
            if is_hub_file(value):
                return value
            self.fail(key, f"there is no file {path}")
        try:
            open_regular(path).close()
        except OSError as e:
            self.fail(key, f"{path} can't be read: {e.strerror or e}")
        return str(path)

    def is_there(self, key: str, path: Path) -> bool:
        try:
            return path.exists()
        except OSError as e:
            self.fail(key, f"{path} can't be read: {e.strerror or e}")

    def here(self, value: str) -> Path:
        try:
            return (self.path.parent / Path(value).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError):
            return Path("/nonexistent")

    def loras(self) -> tuple[Lora, ...]:
        given = self.table.get("loras", [])
        if not isinstance(given, list):
            self.fail("loras", 'it must be a list, such as [{ source = "style.safetensors", weight = 0.8 }]')
        found = []
        for entry in given:
            one = {"source": entry} if isinstance(entry, str) else entry
            if not isinstance(one, dict) or not one.get("source") or set(one) - {"source", "weight"}:
                self.fail("loras", "each must have a source and may have a weight, and nothing else")
            weight = one.get("weight", 1.0)
            if not _is_number(weight) or not -4 <= weight <= 4:
                self.fail("loras", f"a weight is a number from -4 to 4, not {weight!r}")
            found.append(Lora(self.file("loras", (".safetensors",), one["source"]), float(weight)))
        return tuple(found)

    def profile(self, folder: str, source: str) -> Profile:
        profile = self.sampled(replace(self.like_of(folder), name=self.name, title=self.text("title") or self.name))
        # A fine-tune's licence may differ from its parent's: what nobody says is not known.
        profile = replace(profile, source=source, licence=self.text("licence"))
        if "size" in self.table:
            size = self.table["size"]
            if not _is_whole(size) or not 64 <= size <= 4096:
                self.fail("size", f"it is the side of the model's native square, 64 to 4096 pixels, not {size!r}")
            profile = sized(profile, size)
        steps, guidance = self.limits("steps", profile.steps), self.limits("guidance", profile.guidance)
        if not 1 <= steps.low <= steps.high <= 1000:
            self.fail("steps", "they are 1 to 1000")
        if not 0 <= guidance.low <= guidance.high <= 100:
            self.fail("guidance", "it is 0 to 100")
        able = NegativePromptSupport.WITH_GUIDANCE if guidance.high > _UNGUIDED else NegativePromptSupport.NEVER
        profile = replace(
            profile,
            steps=Range(int(steps.default), int(steps.low), int(steps.high)),
            guidance=guidance,
            negative=able,
            negative_default=self.text("negative") if "negative" in self.table else profile.negative_default,
            languages=self.languages(profile.languages),
        )
        if profile.negative_default and able is NegativePromptSupport.NEVER:
            if "negative" in self.table:
                self.fail("negative", "this model draws without guidance, so a negative prompt does nothing")
            profile = replace(profile, negative_default="")
        return priced(profile)

    def like_of(self, folder: str) -> Profile:
        """Return the profile that the defaults come from: the one named, or the one that the pipeline is of."""
        like = self.text("like")
        names = {spec.profile.name: spec.profile for spec in known()}
        if like and like not in names:
            self.fail("like", f"there is no model {like!r}; there are {', '.join(names)}")
        own = profile_of(Path(folder)) if folder and Path(folder).is_dir() else None
        if own is None:
            own = next((p for p in names.values() if p.source.lower() == folder.lower()), None)
        if like and own is not None and own.family != names[like].family:
            self.fail("like", f"{like} is of another family than {folder}")
        if like:
            return names[like] if own is None else replace(names[like], parameters=own.parameters)
        return own or self.fail("like", f"say which of {', '.join(names)} it is built like")

    def sampled(self, profile: Profile) -> Profile:
        scheduler = self.text("scheduler") or profile.scheduler
        config = self.table.get("scheduler_config", profile.scheduler_config)
        if profile.family == "z_image" and (self.table.keys() & {"scheduler", "scheduler_config"}):
            self.fail("scheduler", "Z-Image is drawn with its own scheduler")
        if scheduler and scheduler not in SCHEDULERS:
            self.fail("scheduler", f"there is no {scheduler!r}; there are {', '.join(SCHEDULERS)}")
        if not isinstance(config, Mapping) or not all(isinstance(v, str | int | float) for v in config.values()):
            self.fail("scheduler_config", "it must be a table of texts, numbers and true or false")
        return replace(profile, scheduler=scheduler, scheduler_config=dict(config))

    def limits(self, key: str, usual: Range[Any]) -> Range[Any]:
        """Return a range from ``key = 30`` (the usual range, widened to it) or ``{ default, low, high }``."""
        given = self.table.get(key)
        if given is None:
            return usual
        if _is_number(given):
            found = Range(given, min(usual.low, given), max(usual.high, given))
        elif (
            isinstance(given, dict)
            and set(given) == {"default", "low", "high"}
            and all(map(_is_number, given.values()))
        ):
            found = Range(given["default"], given["low"], given["high"])
        else:
            self.fail(
                key, f"it must be a number or {{ default = {usual.default}, low = {usual.low}, high = {usual.high} }}"
            )
        if key == "steps" and not all(map(_is_whole, (found.default, found.low, found.high))):
            self.fail(key, "steps are whole numbers")
        if not found.low <= found.default <= found.high:
            self.fail(key, "the default must lie between low and high")
        return found if key == "steps" else Range(float(found.default), float(found.low), float(found.high))

    def languages(self, usual: tuple[str, ...]) -> tuple[str, ...]:
        given = self.table.get("languages", list(usual))
        if not isinstance(given, list) or not given or not all(isinstance(g, str) and g.isalpha() for g in given):
            self.fail("languages", 'it must be a list of language tags, such as ["en", "zh"]')
        return tuple(g.lower() for g in given)

    def text(self, key: str) -> str:
        value = self.table.get(key, "")
        if not isinstance(value, str):
            self.fail(key, "it must be a text in quotes")
        return value.strip()


def _looks_like_file(source: str) -> bool:
    return source.lower().endswith((".safetensors", ".gguf", *_PICKLES))


def _is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST_NUMBER


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
