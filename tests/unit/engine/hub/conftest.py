"""A small repository on the hub's stand-in, and an environment that uses it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.hub import Hub, serving

REPO = "somebody/some-model"
PARTS = {
    "scheduler": ["diffusers", "SomeScheduler"],
    "tokenizer": ["transformers", "SomeTokenizer"],
    "transformer": ["diffusers", "SomeTransformer"],
    "vae": ["diffusers", "AutoencoderKL"],
    "image_encoder": [None, None],
}
INDEX = {"_class_name": "SomePipeline", "_diffusers_version": "0.42.1", **PARTS}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def bytes_(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


WANTED = {
    "model_index.json": json.dumps(INDEX).encode(),
    "scheduler/scheduler_config.json": b"{}",
    "tokenizer/tokenizer.json": b'{"model": {}}',
    "tokenizer/merges.txt": b"a b",
    "transformer/config.json": b'{"of": "transformer"}',
    f"transformer/{WEIGHTS}": bytes_(400_000),
    "vae/config.json": b'{"of": "vae"}',
    f"vae/{WEIGHTS}": bytes_(50_000, 1),
}
UNWANTED = {
    "README.md": b"# words",
    "some-model.safetensors": bytes_(1000, 2),
    "run_me.py": b"raise SystemExit",
    "tokenizer/run_me.py": b"raise SystemExit",
    "transformer/diffusion_pytorch_model.bin": b"pickle",
    "transformer/diffusion_pytorch_model.fp16.safetensors": bytes_(1000, 3),
    "transformer/diffusion_pytorch_model.non_ema.safetensors": bytes_(1000, 4),
    "vae_1_0/diffusion_pytorch_model.safetensors": bytes_(1000, 5),
    "vae_decoder/model.onnx": b"onnx",
    "image_encoder/model.safetensors": bytes_(1000, 6),
}
"""Further files of usual repositories."""


@contextmanager
def serving_files(repo: str, folder: Path, files: dict[str, bytes]) -> Iterator[Hub]:
    """Write a repository's files, and serve them; then close the connections of this process to the hub."""
    from huggingface_hub import close_session  # noqa: PLC0415  # most tests here do without

    with serving(Hub(repo, write(folder, files))) as hub:
        yield hub
        close_session()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_", "TRANSFORMERS_"))]:
        monkeypatch.delenv(name)
    with serving_files(REPO, tmp_path / "hub", {**WANTED, **UNWANTED}) as serves:
        monkeypatch.setenv("HF_ENDPOINT", serves.url)
        yield serves


@pytest.fixture
def models(tmp_path: Path) -> str:
    return str(tmp_path / "models")
