"""The classifier itself, on the CPU: a picture in, how sure it is that it is unsafe out. Torch from here on."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import ViTForImageClassification

from engine.moderation import folder as folders
from engine.regular_files import read_json

_THREADS = 2
"""Cores that it takes: whatever draws needs the others."""

_HALF = (0.5, 0.5, 0.5)


class Classifier:
    """Loads a folder once. Raises EngineError for one that can't be used, and whatever transformers raises."""

    def __init__(self, folder: Path, unsafe: Collection[str]) -> None:
        torch.set_num_threads(min(_THREADS, torch.get_num_threads()))
        self._unsafe = list(folders.read(folder, unsafe).unsafe)
        self._model: Any = ViTForImageClassification.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        self._model.eval()
        size = self._model.config.image_size
        self._size = (size, size) if isinstance(size, int) else (int(size[1]), int(size[0]))
        shown = _preprocessing(folder)
        self._resample = Image.Resampling(int(shown.get("resample", Image.Resampling.BILINEAR)))
        self._mean = np.asarray(shown.get("image_mean") or _HALF, np.float32)
        self._std = np.asarray(shown.get("image_std") or _HALF, np.float32)

    def score(self, data: bytes) -> float:
        """Return how sure it is, 0 to 1, that an encoded picture is unsafe. Raises OSError when it can't be read."""
        with Image.open(io.BytesIO(data)) as picture:
            # All of it, squeezed: what a crop leaves out would be judged by nobody.
            small = picture.convert("RGB").resize(self._size, self._resample)
        pixels = (np.asarray(small, np.float32) / 255.0 - self._mean) / self._std
        with torch.inference_mode():
            logits = self._model(pixel_values=torch.from_numpy(pixels).permute(2, 0, 1)[None]).logits[0]
        if self._model.config.problem_type == "multi_label_classification":
            return float(torch.sigmoid(logits)[self._unsafe].max())
        return float(torch.softmax(logits, dim=-1)[self._unsafe].sum())


def _preprocessing(folder: Path) -> dict[str, Any]:
    # By hand: transformers' own processors for pictures need torchvision.
    try:
        shown = read_json(folder / "preprocessor_config.json")
    except (OSError, ValueError):
        return {}
    return shown if isinstance(shown, dict) else {}
