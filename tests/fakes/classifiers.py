"""A small ViT that finds red pictures unsafe, as hubs have ViTForImageClassification."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

SIDE, PATCH, HIDDEN = 16, 8, 4


def picture(red: int, green: int, blue: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (48, 32), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def red_is_unsafe(folder: Path) -> Path:
    """Write its weights by hand, under the names that files on hubs have. Returns the folder.

    A patch becomes (red - blue, blue - red, 1, -1), attention takes the mean of all patches, and the last layer asks
    whether it is more red or more blue.
    """
    folder.mkdir(parents=True)
    zeros = {
        "vit.embeddings.cls_token": (1, 1, HIDDEN),
        "vit.embeddings.position_embeddings": (1, 1 + (SIDE // PATCH) ** 2, HIDDEN),
        "vit.encoder.layer.0.intermediate.dense.weight": (HIDDEN, HIDDEN),
        "vit.encoder.layer.0.intermediate.dense.bias": (HIDDEN,),
        "vit.encoder.layer.0.output.dense.weight": (HIDDEN, HIDDEN),
        "vit.encoder.layer.0.output.dense.bias": (HIDDEN,),
        "classifier.bias": (2,),
    }
    tensors = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
        copies = part in {"attention.value", "output.dense"}
        name = f"vit.encoder.layer.0.attention.{part}"
        tensors[f"{name}.weight"] = np.eye(HIDDEN, dtype=np.float32) * copies
        tensors[f"{name}.bias"] = np.zeros(HIDDEN, np.float32)
    for name in ("vit.encoder.layer.0.layernorm_before", "vit.encoder.layer.0.layernorm_after", "vit.layernorm"):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
    mean = np.zeros((HIDDEN, 3, PATCH, PATCH), np.float32)
    mean[0, 0] = mean[1, 2] = 1 / PATCH**2
    mean[0, 2] = mean[1, 0] = -1 / PATCH**2
    tensors["vit.embeddings.patch_embeddings.projection.weight"] = mean
    tensors["vit.embeddings.patch_embeddings.projection.bias"] = np.asarray([0, 0, 1, -1], np.float32)
    tensors["classifier.weight"] = np.asarray([[-4, 4, 0, 0], [4, -4, 0, 0]], np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "hidden_size": HIDDEN,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": HIDDEN,
        "image_size": SIDE,
        "patch_size": PATCH,
        "id2label": {"0": "normal", "1": "nsfw"},
        "label2id": {"normal": 0, "nsfw": 1},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shown = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(shown), encoding="utf-8")
    return folder


def looks_like_one(folder: Path, labels: tuple[str, ...] = ("normal", "nsfw")) -> Path:
    """Write only the files that are read before the child is started."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {str(index): label for index, label in enumerate(labels)}
    config = {"architectures": ["ViTForImageClassification"], "id2label": names}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").touch()
    return folder
