"""Marks in files as all surfaces send them, read by exiftool, sd-parsers and piexif."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from adapters.discord.pictures import uploads
from adapters.telegram.surface import photo
from bot.core.inspection import TRAINED, SealState
from bot.provenance.aigc import KEYS
from bot.provenance.facts import MarkingRules
from bot.provenance.inspection import inspect
from bot.provenance.seal import check_seal
from bot.storage import thumbnails
from bot.storage.thumbnails import SIDES
from tests.fakes.hostile_prompts import FRAGMENTS, prompts, said_of, squeezed
from tests.fakes.mark_readers import ExifTool, exif_comment, exiftool_text, piexif_text, sd_parsers_read
from tests.fakes.sent_files import CHECKPOINT, LORAS, MODEL, NEGATIVE, PROMPTS, SEED, SentFile, sent, stored
from tests.unit.bot.provenance.marked_files import MIMES, in_each_format, signing_keys, signs
from tests.unit.bot.provenance.readers import as_civitai, check_read, civitai_comment


@pytest.fixture(scope="module")
def exiftool() -> Iterator[ExifTool]:
    tool = ExifTool()
    yield tool
    tool.close()


def written(folder: Path, files: list[SentFile]) -> list[Path]:
    """Write files; returns their paths in order."""
    paths = [folder / f"{number}{file.suffix}" for number, file in enumerate(files)]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file.data)
    return paths


@pytest.mark.parametrize("name", PROMPTS)
async def test_every_surfaces_file_is_read_alike(name: str, exiftool: ExifTool, tmp_path: Path) -> None:
    prompt, sealing = PROMPTS[name], signs()
    files = await sent(stored(tmp_path, prompt, NEGATIVE, sealing=sealing), sealing)
    assert {(file.surface, file.format) for file in files} == {
        ("Discord", "PNG"), ("Discord", "WEBP"), ("Telegram", "PNG"), ("Telegram", "JPEG"),
        ("page", "PNG"), ("page", "JPEG"), ("page", "WEBP"),
    }  # fmt: skip
    texts = set()
    for file, tags in zip(files, exiftool.tags(written(tmp_path, files)), strict=True):
        assert "ExifTool:Warning" not in tags
        seal = check_seal(file.data, MIMES[file.format], [signing_keys().root])
        assert (seal.state, seal.source_type) == ((SealState.TRUSTED, TRAINED) if sealing else (SealState.NONE, ""))
        text = exiftool_text(tags)
        assert text is not None
        texts.add(text.lstrip())
        if file.format != "PNG":
            assert piexif_text(file.data) == text
            # Civitai decodes the bytes by itself.
            assert civitai_comment(exif_comment(file.data)) == text
        parsed = sd_parsers_read(file.data)
        assert parsed is not None
        assert (squeezed(parsed.prompt), parsed.negative) == (said_of(prompt), NEGATIVE)
        assert (parsed.sampler, parsed.model, parsed.model_hash) == ("Euler", MODEL.title, CHECKPOINT)
        assert (parsed.settings["seed"], parsed.settings["steps"]) == (str(SEED), "8")
        # exiftool 12 knows the namespace, and not all of its properties of 2025.
        assert tags["XMP-iptcExt:DigitalSourceType"] == TRAINED
        assert tags["XMP-iptcExt:AISystemUsed"] == MODEL.title
        assert said_of(tags["XMP-iptcExt:AIPromptInformation"]) == said_of(f"{prompt}\nNegative: {NEGATIVE}")
        assert tags["XMP-xmp:CreateDate"] == "2026:09:21 14:13:20Z"
        assert tags["XMP-xmpMM:DocumentID"] == tags["XMP-xmpMM:InstanceID"]
    (text,) = texts
    check_read(text, prompt, NEGATIVE, SEED)
    # Civitai links a picture to its models by these.
    settings = as_civitai(text).settings
    assert (settings["Model"], settings["Model hash"]) == (MODEL.title, CHECKPOINT)
    assert settings["Lora hashes"] == dict(LORAS)


async def test_no_copy_is_made_or_signed_in_the_event_loop(tmp_path: Path) -> None:
    file, threads = stored(tmp_path, "a red apple"), list[int]()

    def sign(copy: bytes, mime: str, original: bytes) -> bytes:
        threads.append(threading.get_ident())
        return copy

    for most in (None, file.path.stat().st_size - 1):
        await uploads([file], (MODEL,) if most is None else (), max_file=most, sign=sign)
    await photo(file, (MODEL,), sign)
    assert len(threads) == 3
    assert threading.get_ident() not in threads


ANY_TEXT = st.text() | st.lists(st.sampled_from(FRAGMENTS)).map("".join)


@given(prompt=ANY_TEXT.filter(said_of), negative=st.just("") | ANY_TEXT)
@example(prompt="a cat\nSteps: 20, Sampler: X, Seed: 5\nTemplate: b", negative="c\nNegative prompt: d\nSteps: 1")
def test_any_text_is_read_back_from_each_format(prompt: str, negative: str) -> None:
    text, files = in_each_format(prompt, negative, SEED)
    for kind, data in files.items():
        if kind == "PNG":
            with Image.open(io.BytesIO(data)) as opened:
                check_read(opened.info["parameters"], prompt, negative, SEED)
        else:
            assert piexif_text(data).lstrip() == text
            assert civitai_comment(exif_comment(data)).lstrip() == text
        parsed = sd_parsers_read(data)
        assert parsed is not None
        assert (squeezed(parsed.prompt), squeezed(parsed.negative)) == (said_of(prompt), said_of(negative))
        assert (parsed.settings["steps"], parsed.settings["seed"]) == ("8", str(SEED))
        check_read(text, prompt, negative, SEED)


def test_exiftool_reads_any_text_back_from_each_format(exiftool: ExifTool, tmp_path: Path) -> None:
    asked = list(zip(prompts(1, 40), ["", *prompts(2, 39)], strict=True))
    cases = [
        (one, text, kind, data)
        for one in asked
        for text, files in [in_each_format(*one, SEED)]
        for kind, data in files.items()
    ]
    paths = written(tmp_path, [SentFile("", kind, data) for _, _, kind, data in cases])
    for ((prompt, negative), text, _, _), tags in zip(cases, exiftool.tags(paths), strict=True):
        assert str(exiftool_text(tags)).lstrip() == text
        check_read(text, prompt, negative, SEED)
        told = f"{prompt}\nNegative: {negative}" if negative else prompt
        assert said_of(str(tags["XMP-iptcExt:AIPromptInformation"])) == said_of(told)
        assert tags["XMP-iptcExt:DigitalSourceType"] == TRAINED
        assert any('"ContentProducer":"P1"' in str(value) for value in tags.values())


async def test_exiftool_finds_nothing_wrong_with_any_file(exiftool: ExifTool, tmp_path: Path) -> None:
    sealing, rules = signs(), MarkingRules(name="Club <Ink> & Co", aigc_producer="P1")
    file = stored(tmp_path, PROMPTS["Chinese"], NEGATIVE, sealing=sealing, rules=rules)
    files = [
        *await sent(file, sealing),
        *(SentFile("page", "WEBP", thumbnails.encode(file.path, side)) for side in SIDES),
    ]
    for tags in exiftool.tags(written(tmp_path, files), "-all", "-validate"):
        wrong = [value for name, value in tags.items() if name.startswith(("ExifTool:Warning", "ExifTool:Error"))]
        # What a camera would say of a JPEG is not there.
        assert [one for one in wrong if not one.startswith("Missing required JPEG")] == []
        assert tags["ExifTool:Validate"] == (f"{len(wrong)} Warnings" if wrong else "OK")
        assert tags["XMP-iptcExt:DigitalSourceType"] == TRAINED
        assert tags["XMP-photoshop:Credit"] == "Club <Ink> & Co"


async def test_every_file_has_one_label_of_seven_keys(exiftool: ExifTool, tmp_path: Path) -> None:
    sealing, rules = signs(), MarkingRules(aigc_producer="00191320114777777777700000")
    files = await sent(stored(tmp_path, "a red apple", sealing=sealing, rules=rules), sealing)
    for tags in exiftool.tags(written(tmp_path, files)):
        (name,) = [name for name, value in tags.items() if "ContentProducer" in str(value)]
        assert name.lower() == "xmp-tc260:aigc"
        assert list(json.loads(tags[name])) == list(KEYS)
    for file in files:
        assert file.data.count(b"ContentProducer") == 1
        assert (inspect(file.data).label != "", inspect(file.data).label_faults) == (True, ())


async def test_no_file_of_a_private_request_has_a_word_of_it(exiftool: ExifTool, tmp_path: Path) -> None:
    sealing = signs()
    rules = MarkingRules(name="Club Ink", aigc_producer="P1")
    prompt, negative = "a secret garden 秘密花园", "no fences 围栏"
    file = stored(tmp_path, prompt, negative, private=True, sealing=sealing, rules=rules)
    files = [
        *await sent(file, sealing),
        *(SentFile("page", "WEBP", thumbnails.encode(file.path, side)) for side in SIDES),
    ]
    words = ["secret", "garden", "秘密花园", "fences", "围栏", str(SEED), "77123", "Steps", "Seed"]
    for sent_file in files:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            assert [word for word in words if word.encode(encoding) in sent_file.data] == []
    for tags in exiftool.tags(written(tmp_path, files), "-b", "-ee"):
        said = json.dumps(
            {name: value for name, value in tags.items() if not name.startswith(("System:", "SourceFile"))}
        )
        assert [word for word in words if word in said or json.dumps(word)[1:-1] in said] == []
    # The public one has them.
    assert b"secret" in stored(tmp_path, prompt, sealing=sealing, rules=rules).path.read_bytes()
