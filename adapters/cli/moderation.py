"""Moderation's inputs: the operator's word list in the data folder, and the picture classifier of the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.cli.checks import Finding
from adapters.cli.output import text
from bot.core.errors import BadInput
from bot.moderation.word_list import CustomWords, WordList, build_word_list, parse_custom_words, shipped_words
from bot.settings import Settings
from engine.contract import EngineError
from engine.moderation import folder
from engine.moderation.process_moderator import ModeratorConfig, ProcessModerator
from engine.regular_files import read_text

WORDS_FILE = "words.txt"

log = logging.getLogger(__name__)


async def words(data_dir: Path) -> WordList:
    """Return the word list with the operator's changes. Raises BadInput if the file can't be read."""
    return await asyncio.to_thread(_words, data_dir / WORDS_FILE)


def finding(settings: Settings) -> Finding | None:
    """Return the finding of `easel doctor`; None if neither is set up."""
    try:
        own = _own(settings.data_dir / WORDS_FILE)
        labels = _labels(settings)
    except (BadInput, EngineError) as error:
        said = text(error.key, **error.params) if isinstance(error, BadInput) else str(error)
        return Finding("moderation", False, said)
    if own is None and not labels:
        return None
    added, removed = (0, 0) if own is None else (len(own.added), len(own.removed))
    pictures = ", ".join(labels) or text("cli.doctor.moderation.none")
    found = text("cli.doctor.moderation", added=added, removed=removed, pictures=pictures)
    if own is not None and own.bad:
        lines = ", ".join(str(number) for number, _ in own.bad)
        return Finding("moderation", False, found, text("cli.doctor.moderation.do", file=WORDS_FILE, lines=lines))
    return Finding("moderation", True, found)


def _labels(settings: Settings) -> tuple[str, ...]:
    if settings.moderation_model is None:
        return ()
    labels = folder.read(settings.moderation_model, settings.moderation_labels)
    return tuple(labels.names[index] for index in labels.unsafe)


def _own(path: Path) -> CustomWords | None:
    """Read the operator's file; None if there is none. Raises BadInput."""
    try:
        lines = read_text(path).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("cli.words", path=str(path), reason=str(error)) from error
    return parse_custom_words(lines)


def _words(path: Path) -> WordList:
    own = _own(path)
    if own is None:
        return shipped_words()
    for number, why in own.bad:
        # Never the word itself: it must not reach a log.
        log.warning("%s, line %d is left out: %s", path, number, why)
    return build_word_list(own)


@asynccontextmanager
async def classifier(settings: Settings) -> AsyncIterator[ProcessModerator | None]:
    """Run the classifier while the block runs; yields None if the settings name none.

    Raises:
        Refusal: Its folder can't be used.
    """
    if settings.moderation_model is None:
        yield None
        return
    config = ModeratorConfig(settings.moderation_model, settings.moderation_labels, settings.moderation_threshold)
    try:
        moderator = await asyncio.to_thread(ProcessModerator, config)
    except EngineError as error:
        raise BadInput("cli.moderation", reason=str(error)) from None
    await moderator.start()
    try:
        yield moderator
    finally:
        await moderator.aclose()
