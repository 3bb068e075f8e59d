"""Moderation's inputs: the operator's word list in the data folder, and the picture classifier of the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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


def unsafe_labels(settings: Settings) -> tuple[str, ...]:
    """Return the classifier's labels that count as unsafe; none without a classifier. Raises EngineError."""
    if settings.moderation_model is None:
        return ()
    labels = folder.read(settings.moderation_model, settings.moderation_labels)
    return tuple(labels.names[index] for index in labels.unsafe)


def read_words(path: Path) -> CustomWords | None:
    """Read the operator's file; None if there is none. Raises BadInput."""
    try:
        lines = read_text(path).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("cli.words", path=str(path), reason=str(error)) from error
    return parse_custom_words(lines)


def _words(path: Path) -> WordList:
    own = read_words(path)
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
