"""The operator's words, and a classifier that can't be used."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from adapters.cli.doctor import check_moderation
from adapters.cli.moderation import classifier, words
from bot.core.errors import BadInput
from bot.moderation.word_list import shipped_words
from bot.settings import Settings
from tests.fakes.classifiers import looks_like_one


async def test_words_are_read_and_bad_lines_named_without_what_they_say(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "words.txt").write_text("\ufeff# ours\r\npotato\r\n-nude\r\n-loli\r\n???\r\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        found = await words(tmp_path)
    assert found.find("a potato") is not None
    assert found.find("a nude") is None
    assert [("line 4" in m, "line 5" in m) for m in caplog.messages] == [(True, False), (False, True)]
    assert "loli" not in caplog.text


async def test_without_a_file_the_words_are_the_shipped_ones(tmp_path: Path) -> None:
    assert await words(tmp_path) is shipped_words()


async def test_a_file_in_another_encoding_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes("土豆".encode("gb18030"))
    with pytest.raises(BadInput) as caught:
        await words(tmp_path)
    assert caught.value.key == "cli.words"


async def test_a_pipe_in_the_files_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "words.txt")
    with pytest.raises(BadInput) as caught:
        await words(tmp_path)
    assert "it is no regular file" in str(caught.value.params["reason"])


async def test_a_classifier_that_can_not_be_used_is_said_before_anything_starts(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, moderation_model=looks_like_one(tmp_path, ("cats", "dogs")))
    with pytest.raises(BadInput, match=r"cli\.moderation"):
        async with classifier(settings):
            pass


async def test_without_a_classifier_nobody_looks() -> None:
    async with classifier(Settings(_env_file=None, moderation_model="")) as moderator:
        assert moderator is None


def test_labels_are_separated_by_commas() -> None:
    settings = Settings(_env_file=None, moderation_labels="nsfw, Hentai ,")
    assert settings.moderation_labels == ("nsfw", "Hentai")


def test_the_doctor_says_what_is_set_up_and_what_is_wrong(tmp_path: Path) -> None:
    def said(**more: Any) -> tuple[bool, str] | None:
        found = check_moderation(Settings(_env_file=None, data_dir=tmp_path, **more))
        return None if found is None else (found.ok, f"{found.found} {found.advice}")

    assert said() is None
    (tmp_path / "words.txt").write_text("potato\n-nude\n")
    model = looks_like_one(tmp_path / "vit")
    well = said(moderation_model=model)
    assert well is not None
    assert well[0]
    assert "1 added, 1 taken away; unsafe pictures: nsfw" in well[1]
    wrong = said(moderation_model=model, moderation_labels=("cats",))
    assert wrong is not None
    assert (wrong[0], "labels are normal, nsfw" in wrong[1]) == (False, True)
    (tmp_path / "words.txt").write_text("potato\n???\n")
    lines = said()
    assert lines is not None
    assert (lines[0], "words.txt can't be used: 2" in lines[1]) == (False, True)
