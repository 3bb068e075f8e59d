"""A pipeline that Easel has no family for, from the page's form to a stored picture; also over kill -9 in mid-draw."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from openai import OpenAI
from PIL import Image as Pillow

from tests.e2e.conftest import StartService
from tests.e2e.service import Service, until
from tests.fakes import pipelines
from tests.fakes.small_pipelines import SMALL_PIPELINES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("one_thread")]


def edit(service: Service, prompt: str, reference: bytes, **form: str) -> int:
    """Send the page's form with a reference picture, as a browser does; returns the job's id."""
    mark = uuid.uuid4().hex
    fields = {"key": mark, "prompt": prompt, **form}
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()
    ]
    head = 'Content-Disposition: form-data; name="references"; filename="a.png"\r\nContent-Type: image/png'
    body = b"".join([*parts, f"--{mark}\r\n{head}\r\n\r\n".encode(), reference, f"\r\n--{mark}--\r\n".encode()])
    headers = {"Origin": service.url, "Content-Type": f"multipart/form-data; boundary={mark}"}
    request = urllib.request.Request(f"{service.url}/api/draw", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(json.loads(answer.read())["card"]["job_id"])


def edit_part_by_openai(service: Service, picture: bytes) -> NDArray[np.uint8]:
    """Have the openai package edit the right half of a picture, with a second one beside it."""
    mask = Pillow.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    file = io.BytesIO()
    mask.save(file, "PNG")
    with OpenAI(api_key="none", base_url=f"{service.url}/v1", max_retries=0) as client:
        answer = client.images.edit(
            image=[("a.png", picture, "image/png"), ("b.png", picture, "image/png")],
            mask=("mask.png", file.getvalue(), "image/png"),
            prompt="a red cat",
            response_format="b64_json",
            extra_body={"seed": 5, "steps": 3, "size": "64x64"},
        )
    assert answer.data is not None
    data = base64.b64decode(answer.data[0].b64_json or "")
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


def stored(service: Service, job: int) -> NDArray[np.uint8]:
    (picture,) = service.finished(job)["pictures"]
    return np.asarray(Pillow.open(io.BytesIO(service.get(picture["url"]))).convert("RGB"))


def test_a_picture_and_an_edit_are_stored_as_the_plain_call_draws_them(
    start_service: StartService, tmp_path: Path
) -> None:
    folder = SMALL_PIPELINES["Flux2KleinPipeline"].build(tmp_path / "klein", 0)
    service = start_service(env={"EASEL_MODEL": str(folder)})
    start = Pillow.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 30).convert("RGB")
    file = io.BytesIO()
    start.save(file, "PNG")
    drawn = service.draw("a red cat", seed="5", steps="3")
    edited = edit(service, "a red cat", file.getvalue(), seed="5", steps="3", size="64x64")
    found = [stored(service, drawn), stored(service, edited)]

    part = edit_part_by_openai(service, file.getvalue())
    assert np.array_equal(part[:, :16], np.asarray(start)[:, :16])
    assert not np.array_equal(part[:, 48:], np.asarray(start)[:, 48:])

    long = service.draw("a blue dog", seed="6", steps="50")
    until(lambda: service.card(long)["progress"], 60, "it is being drawn")
    service.kill()
    service.start()
    found.append(stored(service, long))

    pipe = pipelines.load(folder)
    for picture, (prompt, seed, steps, image) in zip(
        found,
        [("a red cat", 5, 3, None), ("a red cat", 5, 3, start), ("a blue dog", 6, 50, None)],
        strict=True,
    ):
        plain = pipe(
            prompt=prompt,
            image=image,
            width=64,
            height=64,
            num_inference_steps=steps,
            guidance_scale=0.0,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        assert np.array_equal(picture, np.asarray(plain))
