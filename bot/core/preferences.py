"""What people have set for their own requests, and admins for their places, as a live view in memory."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from bot.core.people import Actor, Place

LANGUAGE = "language"
"""Option of a person: the locale of what Easel tells them."""

DEFAULTS = "defaults"
"""Option of a place: the defaults of its requests, by field. Its channels' are ``defaults:CHANNEL`` and
``defaults:CHANNEL/THREAD``.
"""

RIGHTS = "rights"
"""Option of a place: who may use what, by ``model:NAME`` and ``lora:NAME``."""

RECIPE = "recipe"
"""Option of a person: a RecipeRule for the files of their requests."""


class RecipeRule(StrEnum):
    """Which files tell the prompt, the seed and the settings: all, those of requests that are not private, or none."""

    PUBLIC = "public"
    ALWAYS = "always"
    NEVER = "never"


def narrower(one: RecipeRule, other: RecipeRule) -> RecipeRule:
    """Return the rule by which files tell less."""
    return min(one, other, key=(RecipeRule.NEVER, RecipeRule.PUBLIC, RecipeRule.ALWAYS).index)


Options = Mapping[str, object]
_RULES = frozenset(rule.value for rule in RecipeRule)
_NOTHING: Options = MappingProxyType({})


def defaults_of_channel(place: Place) -> str:
    """Return the name of the option with the defaults of a place's channel, thread or topic."""
    return f"{DEFAULTS}:{place.channel}" + (f"/{place.thread}" if place.thread else "")


class Languages(Protocol):
    """Which language people have chosen, for adapters that word a sentence themselves."""

    def locale(self, platform: str, user_id: str, reported: str) -> str:
        """Return the locale that somebody has chosen, else the one that their platform reports."""


class Preferences:
    """The options of people and places that requests depend on. It is read for every request, so it is in memory.

    After a change, ``bot.storage.preferences.refresh`` loads it again.
    """

    def __init__(self) -> None:
        self._people: Mapping[tuple[str, str], Options] = {}
        self._places: Mapping[tuple[str, str], Options] = {}

    def load(self, people: Mapping[tuple[str, str], Options], places: Mapping[tuple[str, str], Options]) -> None:
        """Replace everything: options by platform and user id, and by platform and guild."""
        self._people, self._places = people, places

    def of_person(self, actor: Actor) -> Options:
        """Return what somebody has set."""
        return self._people.get((actor.platform, actor.user_id), _NOTHING)

    def recipe_rule(self, actor: Actor) -> RecipeRule:
        """Return what somebody has chosen for the files of their requests; ALWAYS where they leave it to the operator."""
        chosen = self.of_person(actor).get(RECIPE)
        return RecipeRule(chosen) if isinstance(chosen, str) and chosen in _RULES else RecipeRule.ALWAYS

    def of_place(self, place: Place) -> Options:
        """Return the defaults and rights of a place; nothing in direct messages."""
        return self._places.get((place.platform, place.guild or ""), _NOTHING)

    def locale(self, platform: str, user_id: str, reported: str) -> str:
        """Return the locale that somebody has chosen, else the one that their platform reports."""
        chosen = self._people.get((platform, user_id), _NOTHING).get(LANGUAGE)
        return chosen if isinstance(chosen, str) and chosen else reported
