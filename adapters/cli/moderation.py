"""What moderation works with: the operator's words from the data folder, and the picture classifier of the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.model.errors import BadInput
from bot.policy.moderation import WordList, read_own, shipped, word_list
from bot.settings import Settings
from engine.contract import EngineError
from engine.moderation.parent import Config, ProcessModerator

WORDS_FILE = "words.txt"

log = logging.getLogger(__name__)


async def words(data_dir: Path) -> WordList:
    """Return the word list with what the operator adds and takes away. Raises BadInput when the file can't be read."""
    return await asyncio.to_thread(_words, data_dir / WORDS_FILE)


def _words(path: Path) -> WordList:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return shipped()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("cli.words", path=str(path), reason=str(error)) from error
    own = read_own(lines)
    for number, why in own.bad:
        # Never the word itself: a log is no place for it.
        log.warning("%s, line %d is left out: %s", path, number, why)
    return word_list(own)


@asynccontextmanager
async def classifier(settings: Settings) -> AsyncIterator[ProcessModerator | None]:
    """Have pictures judged while the block runs; yields None where the settings name no classifier.

    Raises:
        Refusal: Its folder can't be used.
    """
    if settings.moderation_model is None:
        yield None
        return
    config = Config(settings.moderation_model, settings.moderation_labels, settings.moderation_threshold)
    try:
        moderator = await asyncio.to_thread(ProcessModerator, config)
    except EngineError as error:
        raise BadInput("cli.moderation", reason=str(error)) from None
    await moderator.start()
    try:
        yield moderator
    finally:
        await moderator.aclose()
