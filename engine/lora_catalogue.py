"""The LoRAs that requests may name: those of a folder, and those that models.toml describes. Reads no tensors."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.contract import LoraInfo, UnknownLora, UnknownModel
from engine.families.recognition import LORA_TENSORS, lora_family
from engine.families.registry import specs
from engine.model_tables import LORA, MAX_TITLE, Listed, Text, named_tables
from engine.regular_files import absolute
from engine.spec import LoraSpec
from engine.weights import PICKLES, TensorInfo, header_and_metadata

MAX_WEIGHT = 2.0
"""Largest absolute weight of a LoRA in a request."""

MAX_LORAS = 5000
"""Most LoRAs of a folder; the header of each is read at the start."""

_NAME = re.compile(r"[^\W_][\w.-]{0,79}")
_STRANGE = re.compile(r"[^\w.-]+")
_MAX_TRIGGERS = 8
_MAX_TRIGGER_CHARS = 80
_COMMON_PERCENT = 90
"""Percent of a training set's captions from which a tag counts as a trigger word."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoraCatalogue:
    """The LoRAs that requests may name.

    Attributes:
        specs: Sorted by name; names are unique.
        problems: One sentence for each file or table that is left out.
    """

    specs: tuple[LoraSpec, ...] = ()
    problems: tuple[str, ...] = ()


def loras(folder: str, models_file: str) -> tuple[LoraSpec, ...]:
    """Return the LoRAs of ``read_loras``, and log an error for each file or table that is left out."""
    found = read_loras(folder, models_file)
    for problem in found.problems:
        log.error("Left out of the LoRAs: %s", problem)
    return found.specs


def read_loras(folder: str, models_file: str) -> LoraCatalogue:
    """Return every LoRA that requests may name. Mistakes are returned and never raised.

    Reads the header of each file, so call it at start-up and not on an event loop. A table of ``models.toml`` describes
    a file of the folder or another one; its name replaces that of the folder's file. Where a table has a mistake, its file
    is left out, and where all of ``models.toml`` can't be read, the whole folder: a table may say who may use a file.

    Args:
        folder: ``EASEL_LORA_DIR``; empty for none. A LoRA is named after its file, in lower case.
        models_file: Path of ``models.toml``, whose tables ``[lora.NAME]`` are LoRAs; it may be missing or empty.
    """
    found: dict[str, LoraSpec] = {}
    problems: list[str] = []
    files = _files(folder, problems)
    try:
        tables = dict(named_tables(models_file, LORA))
    except UnknownModel as e:
        if files:
            problems.append(f"{str(e).rstrip('.')}; it may say who may use the LoRAs of {folder}, so none is offered.")
        return LoraCatalogue((), tuple(problems))
    described: set[str] = set()
    for name, table in tables.items():
        try:
            found[name] = spec = _described(Path(models_file), name, table, files)
        except UnknownLora as e:
            problems.append(str(e))
            described.update(map(_real, _files_of(Path(models_file), name, table, files)))
        else:
            described.add(_real(spec.path))
    for name, path in files.items():
        if _real(path) in described:
            continue
        if name in found:
            problems.append(f"{path}: the name {name} is taken by {found[name].path}; give the file another name.")
            continue
        try:
            found[name] = _spec(name, path)
        except UnknownLora as e:
            problems.append(str(e))
    return LoraCatalogue(tuple(found[name] for name in sorted(found)), tuple(problems))


def unknown_lora(name: str, names: Sequence[str]) -> UnknownLora:
    """Return the error for a name that no LoRA has, with the nearest names."""
    near = get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if near:
        return UnknownLora(f"There is no LoRA {name!r}; did you mean {' or '.join(near)}?")
    return UnknownLora(f"There is no LoRA {name!r}; there {'are others' if names else 'is none here'}.")


def _files(folder: str, problems: list[str]) -> dict[str, Path]:
    """Return the files of a folder and its folders by the LoRA's name."""
    found: dict[str, Path] = {}
    if not folder:
        return found
    try:
        paths = sorted(path.absolute() for path in Path(folder).rglob("*") if _is_weights(path))
    except OSError as e:
        problems.append(f"EASEL_LORA_DIR: {folder} can't be read ({e.strerror or e}).")
        return found
    if not Path(folder).is_dir():
        problems.append(f"EASEL_LORA_DIR: there is no folder {folder}.")
    if len(paths) > MAX_LORAS:
        problems.append(f"EASEL_LORA_DIR: {folder} holds {len(paths)} LoRAs; only the first {MAX_LORAS} are read.")
    for path in paths[:MAX_LORAS]:
        name = _typed(path.stem)
        if not _NAME.fullmatch(name):
            problems.append(f"{path}: its name can't be typed; name it with letters and digits, at most 80.")
        elif name in found:
            problems.append(f"{path}: the name {name} is taken by {found[name]}; give one of the files another name.")
        else:
            found[name] = path
    return found


def _typed(name: str) -> str:
    """Return a file's name as people type it."""
    return _STRANGE.sub("-", name.lower()).strip("-._")


def _files_of(models_file: Path, name: str, table: object, files: Mapping[str, Path]) -> Iterator[Path]:
    """Return the files that a table with a mistake may be about: the one that it names, and the one of its name."""
    if (path := files.get(_typed(name))) is not None:
        yield path
    if isinstance(table, dict) and isinstance(file := table.get("file"), str):
        with suppress(ValueError):
            yield absolute(models_file.parent, file)


def _real(path: str | Path) -> str:
    """Return the path without links, by which two names of one file are equal."""
    return os.path.realpath(path)


def _is_weights(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" and not path.name.startswith(".")


_Texts = Annotated[list[Annotated[Text, Field(min_length=1, max_length=_MAX_TRIGGER_CHARS)]], Listed]


class _Table(BaseModel):
    """The keys of a table ``[lora.NAME]``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    file: Text = ""
    title: Annotated[Text, Field(max_length=MAX_TITLE)] = ""
    trigger: Annotated[_Texts, Field(max_length=_MAX_TRIGGERS)] = []
    family: Text = ""
    who: Annotated[_Texts, Field(min_length=1)] = ["everyone"]
    weight: Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)] = 1.0


_WANTED: Mapping[str, str] = {
    "file": "it must be the path of a .safetensors file",
    "title": f"it must be a text of at most {MAX_TITLE} characters",
    "trigger": f'it must be a text or a list of at most {_MAX_TRIGGERS} texts, such as ["pixel art"]',
    "family": "it must be the name of a family",
    "who": 'it must be "everyone", "admins" or a list of roles, such as ["admins", "1234567890"]',
    "weight": f"it must be a number from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}",
}


def _described(models_file: Path, name: str, table: object, files: Mapping[str, Path]) -> LoraSpec:
    """Return the LoRA of a table. Raises UnknownLora with a sentence that names the file, the table and the key."""

    def fail(key: str, problem: str) -> NoReturn:
        raise UnknownLora(f"{models_file}, [{LORA}.{name}]{', ' if key else ''}{key}: {problem}.")

    if not name or not isinstance(table, dict):
        raise UnknownLora(
            f"{models_file}, [{LORA}]: a LoRA is a table of its own, [{LORA}.NAME]; a model can't be called {LORA!r}."
        )
    if not _NAME.fullmatch(name) or name != name.lower():
        fail("", "a LoRA's name is up to 80 lower-case letters, digits, '.', '_' and '-', since people type it")
    try:
        given = _Table.model_validate(table)
    except ValidationError as e:
        key = str(e.errors()[0]["loc"][0])
        fail(key, _WANTED.get(key, f"there is no such key; there are {', '.join(sorted(_WANTED))}"))
    families = specs()
    if given.family and given.family not in families:
        fail("family", f"there is no family {given.family!r}; there are {', '.join(families)}")
    if given.file.lower().endswith(PICKLES):
        fail("file", f"{given.file!r} is a pickle, which can run code; get it as .safetensors")
    if given.file:
        try:
            path = absolute(models_file.parent, given.file)
        except ValueError:
            fail("file", f"{given.file!r} is no path")
    else:
        path = files.get(name) or fail(
            "file", "it must name a .safetensors file, since EASEL_LORA_DIR has none of that name"
        )
    if path.suffix.lower() != ".safetensors":
        fail("file", f"{given.file!r} must end in .safetensors")
    try:
        found = _spec(name, path)
    except UnknownLora as e:
        fail("file", str(e).rstrip("."))
    usual = found.info
    info = LoraInfo(
        name,
        given.title or usual.title,
        tuple(given.trigger) or usual.triggers,
        given.family or usual.family,
        tuple(given.who),
        given.weight,
    )
    return replace(found, info=info)


def _spec(name: str, path: Path) -> LoraSpec:
    """Return the LoRA in a file, described by its metadata. Raises UnknownLora where it is broken or no LoRA."""
    try:
        tensors, metadata = header_and_metadata(path)
    except UnknownModel as e:
        raise UnknownLora(str(e).replace("The model's file", "The LoRA", 1)) from e
    if not any(map(LORA_TENSORS.search, tensors)):
        raise UnknownLora(f"{path} is no LoRA, by the names of its tensors; {_instead(tensors)}.")
    family = lora_family(tensors, metadata)
    # A file's name may have bytes that are no text.
    title = _one_line(metadata.get("modelspec.title", "")) or _one_line(path.stem) or name
    info = LoraInfo(name, title[:MAX_TITLE], _triggers(metadata), "" if family is None else family.name)
    return LoraSpec(info, str(path), _clip_skip(metadata))


def _clip_skip(metadata: Mapping[str, str]) -> int:
    stated = metadata.get("ss_clip_skip", "")
    return int(stated) if re.fullmatch("[0-9]{1,2}", stated) else 0  # sd-scripts writes "None" too


def _instead(tensors: Mapping[str, TensorInfo]) -> str:
    return (
        "put models into models.toml, and LoRAs into this folder" if len(tensors) > 1 else "remove it from the folder"
    )


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the trigger words that a file's metadata states, or else the tags that nearly all of its captions have."""
    stated = _one_line(metadata.get("modelspec.trigger_phrase", ""))
    words = stated.split(",") if stated else _tags(metadata)
    found = (word for each in words if 0 < len(word := _one_line(each)) <= _MAX_TRIGGER_CHARS)
    return tuple(dict.fromkeys(found))[:_MAX_TRIGGERS]


def _tags(metadata: Mapping[str, str]) -> Iterable[str]:
    """Return the common tags of a file that sd-scripts has trained, the most frequent first."""
    counts: dict[str, int] = {}
    images = 0
    folders = _object(metadata.get("ss_dataset_dirs"))
    for folder, tags in _object(metadata.get("ss_tag_frequency")).items():
        numbers = (
            {tag: count for tag, count in tags.items() if isinstance(count, int)} if isinstance(tags, dict) else {}
        )
        described = folders.get(folder)
        known = described.get("img_count") if isinstance(described, dict) else None
        images += known if isinstance(known, int) else max(numbers.values(), default=0)
        for tag, count in numbers.items():
            counts[tag] = counts.get(tag, 0) + count
    return sorted(
        # Whole numbers: a file may state some that no float holds.
        (tag for tag, count in counts.items() if count >= 2 and count * 100 >= images * _COMMON_PERCENT),
        key=lambda tag: -counts[tag],
    )


def _object(text: str | None) -> Mapping[str, object]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
