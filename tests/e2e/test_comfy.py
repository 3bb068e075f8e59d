"""`easel` with a ComfyUI server as its only device; the server is a stand-in."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.e2e.service import Service, easel, free_port, until
from tests.fakes.comfy import CHECKPOINT, FakeComfy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    """A server with the checkpoint of Stable Diffusion v1.5, on an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = FakeComfy()
    made.files = {"ckpt_name": [CHECKPOINT], "unet_name": [], "clip_name": [], "vae_name": []}
    asyncio.run_coroutine_threadsafe(made.start(), loop).result(10)
    try:
        yield made
        assert not made.problems, made.problems
    finally:
        asyncio.run_coroutine_threadsafe(made.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_doctor_and_draw_with_a_server_alone(tmp_path: Path, server: FakeComfy) -> None:
    env = {"EASEL_DEVICE": f"comfy:{server.url}", "EASEL_WEB_PORT": str(free_port())}
    doctor = easel("doctor", "--json", cwd=tmp_path, env=env)
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert not {"torch", "plan", "model"} & checks.keys()
    found = checks[f"comfy:{server.url.partition('://')[2]}"]["found"]
    assert found.startswith("ComfyUI 0.3.60, NVIDIA GeForce RTX 3090: draws sd15.")
    assert "z-image-turbo can't be drawn there, since the server lacks unet_name z_image_turbo_bf16" in found
    assert "sdxl can't be drawn there, since the server lacks ckpt_name sd_xl_base_1.0.safetensors" in found

    drawn = easel("draw", "a (red:1.2) apple", "--seed", "7", "-o", "a.png", cwd=tmp_path, env=env)
    assert (drawn.returncode, drawn.stdout) == (0, "a.png\n"), drawn.stderr
    with Pillow.open(tmp_path / "a.png") as picture:
        assert picture.size == (512, 512)
    assert server.submitted[-1].text("positive") == "a (red:1.2000) apple"


def test_the_page_draws_on_a_server_alone(tmp_path: Path, server: FakeComfy) -> None:
    service = Service(tmp_path, {"EASEL_DEVICE": f"comfy:{server.url}"})
    service.start()
    try:
        (slot,) = service.call("/api/owner/device")["slots"]
        assert (slot["id"], slot["state"]["phase"]) == (f"comfy:{server.url.partition('://')[2]}", "warm")
        assert [model["name"] for model in service.call("/api/v1/models")["models"]] == ["sd15"]
        assert len(service.finished(service.draw("a red apple", count="2"))["pictures"]) == 2
        until(lambda: not server.history, 10, "nothing is left in the server's history")
    finally:
        service.end()
