"""Arguments that several commands take."""

from __future__ import annotations

from bot.commands.model import Arg, ArgType

PERSON = Arg("person", ArgType.PERSON)
ANY_PERSON = Arg("person", ArgType.PERSON, required=False)
ROLE = Arg("role", ArgType.ROLE, required=False)
CHANNEL = Arg("channel", ArgType.CHANNEL, required=False)
SPAN = Arg("span", ArgType.SPAN, required=False)
NUMBER = Arg("number", ArgType.WHOLE)
