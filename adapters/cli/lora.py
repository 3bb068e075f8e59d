"""`easel lora list`: the LoRAs that requests may name, their files, and those that are left out and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from adapters.cli import environment
from adapters.cli.output import echo, report_error, text
from bot.core.errors import BadInput
from bot.core.texts import clean
from bot.drawing.model_rules import EVERYONE
from engine import lora_catalogue
from engine.hub.progress import size
from engine.spec import LoraSpec


def main(_args: argparse.Namespace) -> int:
    """List them, and report what is left out. Returns 0; raises Refusal."""
    config = environment.engine_config(environment.settings())
    found = lora_catalogue.read_loras(config.lora_dir, config.models_file)
    width = max((len(spec.info.name) for spec in found.specs), default=0)
    for spec in found.specs:
        print(f"{spec.info.name:<{width}}  {_line(spec)}", flush=True)  # noqa: T201 - its output
    if not found.specs:
        echo("cli.lora.none")
    if config.lora_dir:
        echo("cli.lora.folder", folder=config.lora_dir)
    else:
        echo("cli.lora.no_folder")
    for problem in found.problems:
        report_error(BadInput("cli.lora.problem", problem=problem))
    return 0


def _line(spec: LoraSpec) -> str:
    """Return a LoRA's family, size and file, and in brackets what people see of it and who may use it."""
    info = spec.info
    family = info.family or text("cli.lora.any_family")
    facts = [info.title]
    if info.triggers:
        facts.append(text("cli.lora.triggers", triggers=", ".join(info.triggers)))
    if info.weight != 1:
        facts.append(text("cli.lora.weight", weight=f"{info.weight:g}"))
    if spec.clip_skip:
        facts.append(text("cli.lora.clip_skip", skip=spec.clip_skip))
    if EVERYONE not in info.who:
        facts.append(text("cli.lora.who", who=", ".join(info.who)))
    return clean(f"{family}, {_size(spec.path)}, {spec.path}  [{'; '.join(facts)}]").replace("\n", " ")


def _size(path: str) -> str:
    try:
        return size(Path(path).stat().st_size)
    except OSError:
        return text("cli.lora.file_gone")
