"""What a picture records about how it was drawn, to tell later whether drawing it again gives the same pixels."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import PurePath

from engine.families.registry import spec_of
from engine.spec import ModelSpec, is_hub_file

_INDEX = re.compile(r"^(\w+):\d+")
_CHARS = 16


def device_kind(device: str) -> str:
    """Return a device's name without its number: a second card of the same kind draws the same pixels."""
    return _INDEX.sub(r"\1", device)


def setup_digest(spec: ModelSpec) -> str:
    """Return a short digest of a model's files by name, its LoRAs and its scheduler; the commit is not in it.

    Files of this machine count by name alone: a folder that was moved draws the same pixels.
    """
    profile = spec.profile
    parts: dict[str, object] = {
        "source": _name(profile.source),
        "pipeline": profile.pipeline,
        "scheduler": profile.scheduler,
        "config": dict(profile.scheduler_config),
        "base": _name(spec.base),
        "transformer": _name(spec.transformer),
        "loras": [{**asdict(lora), "source": _name(lora.source)} for lora in spec.loras],
    }
    # The family's own clip skip is left out: digests of an older Easel do not have it.
    if profile.clip_skip and all(profile.clip_skip != m.profile.clip_skip for m in spec_of(profile.family).models):
        parts["clip_skip"] = profile.clip_skip
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_CHARS]


def with_extras(setup: str, extras: str) -> str:
    """Return a setup's digest together with what else changed a picture; unchanged if nothing did."""
    return sha256(f"{setup} {extras}".encode()).hexdigest()[:_CHARS] if extras else setup


def _name(source: str) -> str:
    # Paths of this machine are absolute in a spec.
    return source if is_hub_file(source) or not PurePath(source).is_absolute() else PurePath(source).name
