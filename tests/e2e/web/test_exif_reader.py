"""Marks in files as all surfaces send them, read by ExifReader and as Civitai goes on from there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.core.inspection import TRAINED
from tests.e2e.web import exif_reader
from tests.e2e.web.browser import Browser
from tests.e2e.web.exif_reader import ExifRead
from tests.fakes.hostile_prompts import prompts, said_of
from tests.fakes.sent_files import MODEL, NEGATIVE, PROMPTS, SEED, sent, stored
from tests.unit.bot.provenance.marked_files import in_each_format, signs
from tests.unit.bot.provenance.readers import check_read, civitai_comment

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FILE_SHA256 = "be7e639e6c0824c884aa2619898af7e43597c389b2efade0d447a7e61661a8b9"


def test_it_is_the_published_file() -> None:
    assert hashlib.sha256(exif_reader.FILE.read_bytes()).hexdigest() == FILE_SHA256


def text_of(found: ExifRead) -> str:
    """A1111's text, as Civitai takes it: from the PNG's chunk, else from the bytes of Exif's comment."""
    return found.said["parameters"] if "parameters" in found.said else civitai_comment(found.comment)


async def test_every_surfaces_file_is_read_alike(browser: Browser, tmp_path: Path) -> None:
    sealing = signs()
    for prompt in PROMPTS.values():
        files = await sent(stored(tmp_path, prompt, NEGATIVE, sealing=sealing), sealing)
        found = exif_reader.read(browser, [file.data for file in files])
        for file, one in zip(files, found, strict=True):
            assert ("parameters" in one.said) == (file.format == "PNG")
            assert one.said["DigitalSourceType"] == TRAINED
            assert one.said["AISystemUsed"] == MODEL.title
            assert said_of(one.said["AIPromptInformation"]) == said_of(f"{prompt}\nNegative: {NEGATIVE}")
            assert one.said["CreateDate"] == "2026-09-21T14:13:20Z"
            assert one.said["DocumentID"] == one.said["InstanceID"]
        (text,) = {text_of(one).lstrip() for one in found}
        check_read(text, prompt, NEGATIVE, SEED)
    assert browser.complaints() == []


def test_any_text_is_read_back_from_each_format(browser: Browser) -> None:
    asked = list(zip(prompts(3, 40), ["", *prompts(4, 39)], strict=True))
    cases = [
        (one, text, data) for one in asked for text, files in [in_each_format(*one, SEED)] for data in files.values()
    ]
    found = exif_reader.read(browser, [data for _, _, data in cases])
    for ((prompt, negative), text, _), one in zip(cases, found, strict=True):
        assert text_of(one).lstrip() == text
        check_read(text, prompt, negative, SEED)
        told = f"{prompt}\nNegative: {negative}" if negative else prompt
        assert said_of(one.said["AIPromptInformation"]) == said_of(told)
        assert one.said["DigitalSourceType"] == TRAINED
        assert '"ContentProducer":"P1"' in one.said["AIGC"]
