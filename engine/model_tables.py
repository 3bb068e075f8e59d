"""The tables of models.toml: models, and in tables of their own LoRAs, ControlNets and where models are drawn."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, StringConstraints

from engine.contract import UnknownModel
from engine.regular_files import read_text

LORA = "lora"
"""The table whose tables are LoRAs that requests may name (``engine.lora_catalogue``)."""

CONTROL = "control"
"""The table whose tables are ControlNets (``engine.control_catalogue``)."""

PLACEMENT = "placement"
"""The table that says which models are drawn on which machines (``engine.ray.placement``)."""

COMFY = "comfy"
"""The table whose tables are models that only ComfyUI servers draw (``engine.comfy.models``)."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
"""Names of models and of ControlNets."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

MAX_TITLE = 120
"""Longest title of a LoRA or a ControlNet, in characters."""

Text = Annotated[str, StringConstraints(strip_whitespace=True)]

Listed = BeforeValidator(lambda given: [given] if isinstance(given, str) else given)
"""Takes a text for a list of one."""


def tables(path: Path) -> Mapping[str, object]:
    """Return what ``models.toml`` holds; a missing file holds nothing.

    ``LORA`` holds LoRAs, ``CONTROL`` ControlNets, ``PLACEMENT`` where models are drawn, ``COMFY`` models of ComfyUI
    servers, and all else are models.

    Raises:
        UnknownModel: It can't be read as TOML; one sentence.
    """
    try:
        return tomllib.loads(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError as e:
        why = f"it is no UTF-8 ({e}); save it as UTF-8"
    except OSError as e:
        why = str(e.strerror or e)
    except ValueError as e:
        why = str(e)
    except RecursionError:
        why = "it is nested too deeply"
    raise UnknownModel(f"{path} can't be read as TOML: {why}.")


def named_tables(models_file: str, kind: str) -> Iterator[tuple[str, object]]:
    """Yield the tables of ``LORA``, ``CONTROL``, ``PLACEMENT`` or ``COMFY`` by name; other things have the name "".

    Args:
        models_file: Path of ``models.toml``; it may be missing or empty.
        kind: ``LORA``, ``CONTROL``, ``PLACEMENT`` or ``COMFY``.

    Raises:
        UnknownModel: As ``tables``.
    """
    if not models_file:
        return
    found = tables(Path(models_file)).get(kind, {})
    if isinstance(found, dict):
        yield from found.items()
    else:
        yield "", found
