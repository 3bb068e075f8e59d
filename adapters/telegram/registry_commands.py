"""Typed commands of the table, such as ``/quota`` and ``/easel``: from a message to an invocation."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from aiogram import F, Router
from aiogram.enums import MessageEntityType
from aiogram.types import Message, Update, User

from adapters.telegram.admins import Admins
from adapters.telegram.identity import NAME, address_near, author_of, is_group, place_of, ref_of
from adapters.telegram.replies import ReplyPoster
from adapters.telegram.routing import CommandFilter, TypedCommand, parse_command
from bot.commands.model import HERE, ArgType, Command, Invocation, Permission
from bot.core.errors import BadInput, NotAllowed, Refusal
from bot.core.people import Actor
from bot.features import COMMANDS
from bot.studio import Studio

FIRST_WORDS = tuple(dict.fromkeys(command.name.partition(" ")[0] for command in COMMANDS.typed))
"""The first word of every command of the registry."""


@dataclass(slots=True)
class _Given:
    """Arguments of a typed command: value as text, and Telegram's display name."""

    args: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


class RegistryCommands:
    """Handlers of the table's commands. They only save; delivery shows the results.

    Args:
        studio: The core.
        me: The bot's own account.
        owners: User ids of this Easel's owners.
        admins: Looks up group administrators, for commands that need the right.
        replies: Saves replies that are not job cards.
    """

    def __init__(self, studio: Studio, me: User, owners: Container[str], admins: Admins, replies: ReplyPoster) -> None:
        self._studio = studio
        self._me = me
        self._owners = owners
        self._admins = admins
        self._replies = replies

    def router(self) -> Router:
        """Return the route of all first words of the table."""
        router = Router(name="registry")
        router.message.register(self.handle, F.text, CommandFilter(*FIRST_WORDS))
        return router

    async def handle(self, message: Message, line: TypedCommand, event_update: Update) -> None:
        """Run a command and reply where it was typed."""
        actor = author_of(message, self._owners)
        update_id, kind = event_update.update_id, line.name
        ref = ref_of(update_id, address_near(message, actor))
        command: Command | None = None
        try:
            command, rest = self._studio.find_command(kind, _written(message, self._me.username))
            kind = command.name
            if command.personal and command.private and is_group(message.chat):
                bot = f"https://t.me/{self._me.username}"
                card = self._replies.notice("telegram.in_private", actor, bot=bot, command=f"/{command.name}")
            else:
                given = await self._given(message, actor, command, rest, alone=not line.rest)
                actor = await self._with_rights(message, actor, command, given.args)
                card = await self._studio.command(
                    Invocation(actor, place_of(message), command, ref, given.args, given.names)
                )
        except Refusal as refusal:
            tries = refusal.params.get("n", "") if command is not None and command.limited_tries else ""
            card, kind = self._studio.refused(refusal, actor.locale), f"{refusal.key}{tries}"
        if card.job_id is None:  # delivery shows the cards of jobs
            await self._replies.post(message, actor, update_id, card, kind=kind)

    async def _given(self, message: Message, actor: Actor, command: Command, rest: str, *, alone: bool) -> _Given:
        """Parse the arguments and resolve the people and chats that they name."""
        answered = message.reply_to_message.from_user if message.reply_to_message and not alone else None
        near = {"person": str(answered.id)} if answered and not answered.is_bot else {}
        given = _Given(self._studio.parse_arguments(command, rest, near))
        for arg in command.args:
            value = given.args.get(arg.name)
            if arg.type is ArgType.ROLE and (value is not None or len(command.args) == 1):
                raise BadInput("telegram.no_roles")
            if value is None:
                continue
            if arg.type is ArgType.PERSON:
                await self._person(message, given, arg.name, value)
            elif arg.type is ArgType.CHANNEL:
                await self._chat(message, actor, given, arg.name, value)
        return given

    async def _person(self, message: Message, given: _Given, name: str, value: str) -> None:
        if value.startswith("@"):
            account = await self._studio.find_account(NAME, value)
            given.args[name], given.names[name] = account.user_id, account.name
            return
        given.args[name] = value = value.removeprefix(f"{NAME}:")
        pointed = [e.user for e in message.entities or () if e.user is not None]
        if message.reply_to_message and message.reply_to_message.from_user:
            pointed.append(message.reply_to_message.from_user)
        for user in pointed:
            if str(user.id) == value:
                given.names[name] = user.full_name

    async def _chat(self, message: Message, actor: Actor, given: _Given, name: str, value: str) -> None:
        if value in {HERE, str(message.chat.id)}:
            given.args[name], given.names[name] = str(message.chat.id), message.chat.title or ""
            return
        # Any id can be typed: the actor must be an admin there as well.
        digits = value.removeprefix("-")
        if not digits.isdecimal() or len(digits) > _ID_DIGITS:
            raise BadInput("telegram.not_a_chat")
        if not actor.is_owner and not await self._admins.includes(int(value), int(actor.user_id)):
            raise NotAllowed("telegram.no_admin_there")
        given.names[name] = value

    async def _with_rights(self, message: Message, actor: Actor, command: Command, args: Mapping[str, str]) -> Actor:
        """Look up whether the actor is an admin here, if the command depends on it."""
        needed = command.permission is Permission.ADMIN or "person" in args
        if actor.is_owner or actor.is_admin or not is_group(message.chat) or not (needed or command.admin_details):
            return actor
        try:
            return replace(actor, is_admin=await self._admins.includes(message.chat.id, int(actor.user_id)))
        except Refusal:
            if needed:
                raise
            return actor


_ID_DIGITS = 16
"""Telegram's ids have at most 52 significant bits (https://core.telegram.org/bots/api#chat)."""


def _written(message: Message, username: str | None) -> str:
    """Return the text after the command; mentions of people without a username become ids."""
    units = (message.text or "").encode("utf-16-le")
    for entity in sorted(message.entities or (), key=lambda entity: -entity.offset):
        if entity.type == MessageEntityType.TEXT_MENTION and entity.user is not None:
            begin, end = 2 * entity.offset, 2 * (entity.offset + entity.length)
            units = units[:begin] + f" {NAME}:{entity.user.id} ".encode("utf-16-le") + units[end:]
    line = parse_command(units.decode("utf-16-le", "ignore"), username)
    return "" if line is None else line.rest
