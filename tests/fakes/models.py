"""Small pipelines for tests: the bundled demo model's folder, changed where a test needs it to misbehave."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

from engine.catalogue import demo

POISON = "zebra"
"""The word that a poisoned model can't take."""


def copy(folder: Path) -> Path:
    """Copy the demo pipeline to ``folder`` and return it; loaded by the same path as any other model."""
    return Path(shutil.copytree(demo().source, folder))


def poisoned(folder: Path, word: str = f" {POISON}") -> Path:
    """Return a pipeline whose text encoder knows nothing finite about a word (as the tokenizer has it)."""
    # Torch comes with it, and most tests that import this module do without.
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    copy(folder)
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    vocabulary = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    key = next(k for k in tensors if k.endswith("embed_tokens.weight"))
    tensors[key][vocabulary[word.replace(" ", "Ġ")]] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    return folder


def cut_short(folder: Path, part: str = "transformer") -> Path:
    """Return a pipeline one of whose weight files ends in the middle, as after a broken download."""
    copy(folder)
    weights = next((folder / part).glob("*.safetensors"))
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    return folder


def pickled(folder: Path, trap: Path) -> Path:
    """Return a pipeline whose text encoder is a pickle that would make the file ``trap``."""
    copy(folder)
    (folder / "text_encoder" / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trap,)

    with zipfile.ZipFile(folder / "text_encoder" / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/version", "3")
    return folder


def coded(folder: Path, trap: Path) -> Path:
    """Return a pipeline with a component whose class is code in the folder, which would make the file ``trap``."""
    copy(folder)
    (folder / "scheduler" / "trap.py").write_text(f"open({str(trap)!r}, 'w').close()\nclass Trap: pass\n")
    (folder / "trap.py").write_text(f"open({str(trap)!r}, 'w').close()\nclass Trap: pass\n")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["trap", "Trap"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
