"""`easel model` from the outside, against a stand-in of the hub: fetched and drawn with, broken off and gone on with."""

from __future__ import annotations

import hashlib
import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tests.e2e.service import Service, easel, environment, until
from tests.fakes import models, pipelines
from tests.fakes.hub import COMMIT, Hub, serving
from tests.fakes.small_pipelines import SMALL_PIPELINES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

REPO = "somebody/some-model"
BIG = "transformer/diffusion_pytorch_model.safetensors"
TABLE = f'[mine]\nsource = "{REPO}"\nlike = "demo"\n'
NO_CACHE = {"HF_HOME": "", "HF_HUB_CACHE": ""}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(REPO, models.copy(tmp_path / "hub"))) as serves:
        yield serves


@pytest.fixture
def folder(tmp_path: Path, hub: Hub) -> Path:
    """A folder whose models.toml and .env name the stand-in."""
    folder = tmp_path / "easel"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "models.toml").write_text(TABLE)
    (folder / ".env").write_text(f"HF_ENDPOINT={hub.url}\nHF_TOKEN=hf_secret\nEASEL_MODEL=mine\n")
    return folder


def test_the_first_start_fetches_the_model_and_says_how_far_it_is(folder: Path, hub: Hub) -> None:
    hub.cuts[BIG] = [5_000_000]
    service = Service(folder, NO_CACHE)
    service.start()
    try:
        assert "downloading mine: 17 MB of 17 MB (100 %)" in service.log
        assert "hf_secret" not in service.log
    finally:
        service.end()
    assert {a.headers.get("authorization") for a in hub.asked} == {"Bearer hf_secret"}
    assert f'"{COMMIT}"' in (folder / "data" / "models" / "pins.json").read_text()
    assert [a.headers.get("range") for a in hub.asked_storage if a.path.endswith(BIG)] == [None, "bytes=5000000-"]


def test_ctrl_c_while_the_hub_is_silent_and_resume(folder: Path, hub: Hub) -> None:
    hub.stalls[BIG] = 3_000_000
    command = [sys.executable, "-m", "adapters.cli.main", "model", "pull", "mine"]
    blob = hashlib.sha256((hub.folder / BIG).read_bytes()).hexdigest()
    part = folder / "data" / "models" / f"models--{REPO.replace('/', '--')}" / "blobs" / f"{blob}.part"
    with subprocess.Popen(
        command, cwd=folder, env=environment(NO_CACHE), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as pulling:
        until(lambda: part.exists() and part.stat().st_size > 2_000_000, 60, "some of it is here")
        pulling.send_signal(signal.SIGINT)
        out, err = pulling.communicate(timeout=60)
    assert (pulling.returncode, out) == (130, f"{REPO}: 17 MB of 17 MB to download.\n")
    assert err.splitlines()[-1] == (
        f"easel: {REPO} is not all here; what has come stays, and the same command goes on with it."
    )

    hub.stalls.clear()
    hub.asked_storage.clear()
    done = easel("model", "pull", "mine", cwd=folder, env=NO_CACHE)
    assert done.returncode == 0
    first, last = done.stdout.splitlines()
    assert re.fullmatch(rf"{REPO}: (?!17)[\d.]+ MB of 17 MB to download\.", first)
    assert last.startswith(f"{REPO} is here: ")
    assert f"downloading {REPO}: 17 MB of 17 MB (100 %)" in done.stderr
    assert "hf_secret" not in out + err + done.stdout + done.stderr
    begun = [a.headers.get("range", "") for a in hub.asked_storage if a.path.endswith(BIG)]
    assert [int(wanted.removeprefix("bytes=").rstrip("-")) > 2_000_000 for wanted in begun] == [True]


def test_a_pipeline_that_no_table_names_is_pulled_and_then_drawn_with_offline(tmp_path: Path) -> None:
    folder = tmp_path / "easel"
    folder.mkdir()
    klein = SMALL_PIPELINES["Flux2KleinPipeline"].build(tmp_path / "hub", 0)
    with serving(Hub(REPO, klein)) as hub:
        (folder / ".env").write_text(f"HF_ENDPOINT={hub.url}\nEASEL_MODEL={REPO}\n")
        refused = easel("serve", cwd=folder, env={**NO_CACHE, "EASEL_WEB": "1"})
        assert refused.returncode != 0
        assert f"run `easel model pull {REPO}` first" in refused.stderr
        assert hub.asked == []
        assert easel("model", "pull", REPO, cwd=folder, env=NO_CACHE).returncode == 0
    service = Service(folder, {**NO_CACHE, "HF_HUB_OFFLINE": "1"})
    service.start()
    try:
        job = service.draw("a red cat", seed="5", steps="2")
        (picture,) = service.finished(job)["pictures"]
        found = np.asarray(Pillow.open(io.BytesIO(service.get(picture["url"]))).convert("RGB"))
    finally:
        service.end()
    plain = pipelines.load(klein)(
        prompt="a red cat",
        width=64,
        height=64,
        num_inference_steps=2,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    assert np.array_equal(found, np.asarray(plain))
