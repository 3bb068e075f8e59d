"""Commands of the registry, typed as ``/quota`` or pressed as a button: from an update to Studio. A press is saved before it is confirmed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from aiogram import F, Router
from aiogram.enums import ChatType, MessageEntityType
from aiogram.types import CallbackQuery, InaccessibleMessage, Message, Update, User

from adapters.telegram.admins import Admins
from adapters.telegram.background import BackgroundCalls, retry_while_busy
from adapters.telegram.commands import FIRST_WORDS, PICTURED, WORDLESS, CommandFilter, TypedCommand, parse_command
from adapters.telegram.identity import (
    NAME,
    address_near,
    author_of,
    is_group,
    once,
    place_of,
    presser_of,
    private_chat,
    ref_of,
)
from adapters.telegram.pictures import pictures_of
from adapters.telegram.replies import ReplyPoster
from adapters.telegram.surface import TelegramSurface
from bot.commands.model import HERE, ArgType, Command, Invocation, Permission
from bot.core.cards import ButtonPress, Card, Menu
from bot.core.errors import AdminsOnly, BadInput, NotAllowed, Refusal
from bot.core.messages import Address, EventRef
from bot.core.people import Actor
from bot.core.ports import NoPictures
from bot.studio import ButtonResult, Studio


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
        router.message.register(self.handle, F.text, CommandFilter(*FIRST_WORDS), _without_picture)
        router.channel_post.register(self.handle, F.text, CommandFilter(*FIRST_WORDS), _without_picture)
        router.message.register(self.handle, F.caption, CommandFilter(*WORDLESS))
        router.channel_post.register(self.handle, F.caption, CommandFilter(*WORDLESS))
        return router

    async def handle(self, message: Message, line: TypedCommand, event_update: Update) -> None:
        """Run a command and reply where it was typed."""
        actor = author_of(message, self._owners, self._studio)
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
                pictures = pictures_of(message) if command.name in WORDLESS else ()
                invocation = Invocation(
                    actor, place_of(message), command, ref, given.args, given.names, pictures=pictures
                )
                card = await self._run(message, invocation)
        except Refusal as refusal:
            tries = refusal.params.get("n", "") if command is not None and command.limited_tries else ""
            card, kind = self._studio.refused(refusal, actor.locale), f"{refusal.key}{tries}"
        if card.job_id is None and not card.provisional:  # delivery shows the cards of jobs
            await self._replies.post(message, actor, update_id, card, kind=kind)

    async def _run(self, message: Message, invocation: Invocation) -> Card:
        async def run(actor: Actor) -> Card:
            return await self._studio.command(replace(invocation, actor=actor))

        if invocation.command.personal and not invocation.command.private:
            # It draws: a model may be for admins alone.
            return await self._admins.attempt(self._studio, message, invocation.actor, run)
        return await run(invocation.actor)

    async def _given(self, message: Message, actor: Actor, command: Command, rest: str, *, alone: bool) -> _Given:
        """Parse the arguments and resolve the people and chats that they name."""
        answered = message.reply_to_message.from_user if message.reply_to_message and not alone else None
        near = {"person": str(answered.id)} if answered and not answered.is_bot else {}
        card = message.reply_to_message
        if card is not None and card.from_user is not None and card.from_user.id == self._me.id:
            job_id = self._job_on(card)
            near |= {arg.name: str(job_id) for arg in command.args if arg.type is ArgType.JOB and job_id is not None}
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

    def _job_on(self, message: Message) -> int | None:
        """Return the job whose card a message of the bot shows, by its buttons; None for any other message."""
        rows = message.reply_markup.inline_keyboard if message.reply_markup else []
        for press in (ButtonPress.unpack(button.callback_data or "") for row in rows for button in row):
            command = None if press is None else self._studio.commands.by_action.get(press.action)
            if press is not None and command is not None and command.on_job:
                return press.job_id
        return None

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


def _without_picture(message: Message, line: TypedCommand) -> bool:
    """Whether the line is a command of its own, and no words about a picture."""
    return line.name not in PICTURED or not pictures_of(message)


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


class CallbackQueries:
    """Handlers of presses.

    Args:
        studio: The core.
        me: The bot's account.
        surface: Shows a turned page.
        owners: User ids of this Easel's owners.
        background: Runs calls that need not be saved.
        admins: Looks up group administrators, for buttons that need the right.
    """

    def __init__(
        self,
        studio: Studio,
        me: User,
        surface: TelegramSurface,
        *,
        owners: Container[str],
        background: BackgroundCalls,
        admins: Admins,
    ) -> None:
        self._studio = studio
        self._me = me
        self._surface = surface
        self._owners = owners
        self._background = background
        self._admins = admins
        self._turning: dict[tuple[str, str | None], str] = {}

    def router(self) -> Router:
        """Return the route of all presses."""
        router = Router(name="presses")
        router.callback_query.register(self.press)
        return router

    async def press(self, query: CallbackQuery, event_update: Update) -> None:
        """Run the button's action; every press is answered."""
        actor = presser_of(query, self._owners, self._studio)
        press = ButtonPress.unpack(query.data or "")
        command = None if press is None else self._studio.commands.by_action.get(press.action)
        if press is None or command is None or query.message is None:
            self._background.answer(query.id, self._studio.text("refusal.press.unreadable", actor.locale), alert=True)
            return
        near = address_near(query.message, actor)
        try:
            if command.on_private_card and not _is_on_private_card(query.message, query):
                # A client may send any data from any message.
                raise NotAllowed("telegram.not_a_page")
            if isinstance(query.message, Message) and _has_button(query.message, query):
                await self._studio.bind_pressed_card(press, _at_pressed(near))
            actor = await self._with_rights(actor, query.message, command)
            pressed = await self._run(actor, query.message, command, press, ref_of(event_update.update_id, near))
        except Refusal as refusal:
            self._background.answer(query.id, self._studio.refused(refusal, actor.locale).status, alert=True)
            return
        if pressed.menu is not None:
            self._turn(query.id, _at_pressed(near), pressed.menu)
            return
        if pressed.form is not None:
            card = self._studio.typed_form(pressed.form, actor.locale)
            await self._answer_in_private(query, actor, event_update.update_id, card)
            return
        if pressed.card is not None and pressed.card.provisional:
            self._background.answer(query.id, pressed.notice)  # delivery shows it
            return
        if pressed.card is not None and not command.updates:
            await self._answer_in_private(query, actor, event_update.update_id, pressed.card)
            return
        self._background.answer(query.id, pressed.notice)
        if pressed.card is not None and pressed.card.job_id is None:
            # A turned page; delivery shows the cards of jobs.
            self._background.start(self._show(query.id, _at_pressed(near), pressed.card), "a page could not be turned")

    def _turn(self, query_id: str, here: Address, menu: Menu) -> None:
        """Put the menu's buttons in the place of those of the pressed message; say a menu that has none."""
        card = menu.card
        self._background.answer(query_id, card.status if menu.asks or not card.buttons else "")
        if not card.buttons:
            return  # delivery removes the message
        if menu.back is not None:
            card = replace(card, buttons=(*card.buttons, (menu.back,)))
        shown = self._replace(query_id, here, partial(self._surface.show_buttons, here, card))
        self._background.start(shown, "a menu could not be shown")

    async def _answer_in_private(self, query: CallbackQuery, actor: Actor, update_id: int, card: Card) -> None:
        """Send a card to the actor's private chat. A stranger, whose presses may be endless, gets it once."""
        assert query.message is not None
        near = address_near(query.message, actor)
        grouped = is_group(query.message.chat)
        address = private_chat(near) if grouped else near
        ref = ref_of(update_id, address)
        if await self._studio.is_stranger(actor, place_of(query.message)):
            ref = once(address, f"press:{query.data}")
        await self._studio.post_notice(ref, replace(card, private=False))
        notice = self._studio.text("telegram.sent_in_private", actor.locale, bot=f"@{self._me.username}")
        self._background.answer(query.id, notice if grouped else "", alert=grouped)

    async def _run(
        self,
        actor: Actor,
        message: Message | InaccessibleMessage,
        command: Command,
        press: ButtonPress,
        ref: EventRef,
    ) -> ButtonResult:
        """Run the button's action. The right of an admin is looked up only for a press that is refused without it."""
        place = place_of(message)
        try:
            return await self._studio.press(actor, place, press, ref)
        except NotAllowed as refusal:
            if command.permission is not Permission.AUTHOR and not isinstance(refusal, AdminsOnly):
                raise
            if not is_group(message.chat) or not await self._admins.includes(message.chat.id, int(actor.user_id)):
                raise
        return await self._studio.press(replace(actor, is_admin=True), place, press, ref)

    async def _with_rights(self, actor: Actor, message: Message | InaccessibleMessage, command: Command) -> Actor:
        """Look up whether the actor is an admin here, if the button needs the right."""
        if command.permission is not Permission.ADMIN or actor.is_owner or not is_group(message.chat):
            return actor
        return replace(actor, is_admin=await self._admins.includes(message.chat.id, int(actor.user_id)))

    async def _show(self, query_id: str, here: Address, card: Card) -> None:
        """Show the card in place of the pressed one, unless a later press has turned the page again."""

        async def edit() -> None:
            try:
                await self._surface.edit(here, card)
            except NoPictures:
                await self._surface.edit(here, replace(card, pictures=()))

        await self._replace(query_id, here, edit)

    async def _replace(self, query_id: str, here: Address, edit: Callable[[], Awaitable[object]]) -> None:
        """Edit the pressed message, unless a later press edits it."""
        message = (here.chat, here.message)

        async def latest() -> None:
            if self._turning.get(message) == query_id:
                await edit()

        self._turning[message] = query_id
        try:
            await retry_while_busy(latest)
        finally:
            if self._turning.get(message) == query_id:
                del self._turning[message]


def _is_on_private_card(message: Message | InaccessibleMessage, query: CallbackQuery) -> bool:
    """Whether the message has the pressed button and is in the presser's private chat."""
    if message.chat.type != ChatType.PRIVATE or message.chat.id != query.from_user.id:
        return False
    if isinstance(message, InaccessibleMessage):
        return True  # too old for Telegram to send its buttons; nobody else is in this chat
    return _has_button(message, query)


def _has_button(message: Message, query: CallbackQuery) -> bool:
    """Whether the message has the pressed button: a client may send any data from any message."""
    rows = message.reply_markup.inline_keyboard if message.reply_markup else []
    return any(button.callback_data == query.data for row in rows for button in row)


def _at_pressed(near: Address) -> Address:
    """Return the address of the message that ``near`` answers."""
    return replace(near, message=near.reply_to, reply_to=None)
