"""The picture classifier, on the CPU: returns how sure it is that a picture is unsafe."""

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
"""Cores that the classifier uses; drawing needs the others."""

_HALF = (0.5, 0.5, 0.5)


class Classifier:
    """A loaded classifier. Raises EngineError if its folder can't be used, and what transformers raises."""

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
        """Return how sure it is, 0 to 1, that an encoded picture is unsafe. Raises OSError if it can't be read."""
        with Image.open(io.BytesIO(data)) as picture:
            # The whole picture, squeezed: a crop would leave parts unjudged.
            small = picture.convert("RGB").resize(self._size, self._resample)
        pixels = (np.asarray(small, np.float32) / 255.0 - self._mean) / self._std
        with torch.inference_mode():
            logits = self._model(pixel_values=torch.from_numpy(pixels).permute(2, 0, 1)[None]).logits[0]
        if self._model.config.problem_type == "multi_label_classification":
            return float(torch.sigmoid(logits)[self._unsafe].max())
        return float(torch.softmax(logits, dim=-1)[self._unsafe].sum())


def _preprocessing(folder: Path) -> dict[str, Any]:
    # Without transformers' image processors, which need torchvision.
    try:
        shown = read_json(folder / "preprocessor_config.json")
    except (OSError, ValueError):
        return {}
    return shown if isinstance(shown, dict) else {}
