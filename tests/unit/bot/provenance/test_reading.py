"""Reads of whole files, as programs write them."""

from __future__ import annotations

import json

import pytest

from bot.core.file_marks import embed_texts
from bot.core.image_parts import NotAnImage
from bot.provenance.a1111 import parameters
from bot.provenance.reading import read_parameters
from tests.fakes.source_images import picture
from tests.unit.bot.provenance.test_a1111 import RECIPE
from tests.unit.bot.provenance.test_comfyui import TWO_PASSES
from tests.unit.bot.provenance.test_image_texts import exif_of

CIVITAI = "a cat\nSteps: 25, Sampler: Euler a, CFG scale: 7, Seed: 123, Size: 832x1216, Clip skip: 2"


def test_easels_own() -> None:
    read = read_parameters(embed_texts(picture(), {"parameters": parameters(RECIPE, "Easel demo")}))
    assert read is not None
    assert (read.tool, read.prompt, read.seed) == ("Easel", "a red apple", 7)


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_civitais_in_exif(form: str) -> None:
    read = read_parameters(picture(form=form, exif=b"Exif\0\0" + exif_of(b"UNICODE\0" + CIVITAI.encode("utf-16-be"))))
    assert read is not None
    assert (read.tool, read.prompt, read.seed, read.clip_skip) == ("A1111", "a cat", 123, 2)


def test_comfyuis() -> None:
    texts = {"prompt": json.dumps(TWO_PASSES), "workflow": "{}"}
    read = read_parameters(embed_texts(picture(), texts))
    assert read is not None
    assert (read.tool, read.width) == ("ComfyUI", 832)


def test_a_file_that_does_not_tell() -> None:
    assert read_parameters(picture()) is None
    assert read_parameters(embed_texts(picture(), {"parameters": "a cat", "prompt": "a cat"})) is None
    with pytest.raises(NotAnImage):
        read_parameters(b"Steps: 20, Sampler: Euler a, Seed: 7")
