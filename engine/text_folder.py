"""Finds and checks the folders of EASEL_TEXT_MODEL and EASEL_CAPTION_MODEL. Reads no tensors."""

from __future__ import annotations

from pathlib import Path

from engine import weights
from engine.contract import UnknownModel
from engine.hub.cache import snapshot_of
from engine.hub.names import is_repo
from engine.regular_files import open_regular, read_json

TEXT, CAPTION = "EASEL_TEXT_MODEL", "EASEL_CAPTION_MODEL"

_KINDS = {TEXT: "a causal language model", CAPTION: "a model that describes pictures"}


def locate(setting: str, source: str, models_dir: str) -> Path:
    """Return the folder of a setting's model.

    Args:
        setting: ``TEXT`` or ``CAPTION``.
        source: A folder as transformers saves it, or the hub id of a model in the hub's cache or the models folder.
        models_dir: Folder of downloaded models.

    Raises:
        UnknownModel: There is no such model, it is no such model, or its weights could run code; one sentence says why
            and what to do.
    """
    folder = _folder(setting, source, models_dir)
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as e:
        raise UnknownModel(f"{setting}: {folder} has no config.json; give the folder of {_KINDS[setting]}.") from e
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UnknownModel(
            f"{setting}: {folder}/config.json names no model_type; give the folder of {_KINDS[setting]}."
        )
    if "auto_map" in config:
        raise UnknownModel(
            f"{setting}: {folder} needs code of its own, and Easel runs no code that comes with a model."
        )
    files = weights.weight_files(folder)
    if not files:
        raise UnknownModel(
            f"{setting}: {folder} has no .safetensors file; other weights can run code and are not loaded."
        )
    for file in files:
        try:
            open_regular(file).close()
        except OSError as e:
            raise UnknownModel(f"{setting}: {file} can't be read ({e.strerror or e}).") from e
    return folder


def _folder(setting: str, source: str, models_dir: str) -> Path:
    try:
        folder = Path(source).expanduser()
        if folder.is_dir():
            return folder.absolute()
    except (OSError, RuntimeError):  # no valid path, or an unknown user
        pass
    if is_repo(source):
        if (found := snapshot_of(source, models_dir)) is not None:
            return found
        raise UnknownModel(
            f"{setting} is {source!r}, which is not on this disk: download it with `hf download {source}` and give its "
            "folder, or set HF_HOME to where it was downloaded."
        )
    raise UnknownModel(f"{setting} is {source!r}, and there is no such folder; give the folder of {_KINDS[setting]}.")
