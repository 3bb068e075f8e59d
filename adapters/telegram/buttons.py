"""Button presses: saved before they are confirmed. The answer to a press is a background call."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from aiogram import Router
from aiogram.enums import ChatType
from aiogram.types import CallbackQuery, InaccessibleMessage, Message, Update, User

from adapters.telegram.admins import Admins
from adapters.telegram.background import BackgroundCalls, retry_while_busy
from adapters.telegram.identity import address_near, is_group, once, place_of, presser_of, private_chat, ref_of
from bot.commands.model import Command, Permission
from bot.core.cards import ButtonPress, Card
from bot.core.errors import NotAllowed, Refusal
from bot.core.messages import Address, EventRef
from bot.core.people import Actor
from bot.core.ports import NoPictures, Surface
from bot.studio import ButtonResult, Studio


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
        surface: Surface,
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
        actor = presser_of(query, self._owners)
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
        if pressed.card is not None and not command.updates:
            await self._answer_in_private(query, actor, event_update.update_id, pressed.card)
            return
        self._background.answer(query.id, pressed.notice)
        if pressed.card is not None and pressed.card.job_id is None:
            # A turned page; delivery shows the cards of jobs.
            self._background.start(self._show(query.id, _at_pressed(near), pressed.card), "a page could not be turned")

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
        """Run the button's action. An admin may do what is the author's, but an author's press needs no look-up."""
        place = place_of(message)
        try:
            return await self._studio.press(actor, place, press, ref)
        except NotAllowed:
            if command.permission is not Permission.AUTHOR or not is_group(message.chat):
                raise
            if not await self._admins.includes(message.chat.id, int(actor.user_id)):
                raise
        return await self._studio.press(replace(actor, is_admin=True), place, press, ref)

    async def _with_rights(self, actor: Actor, message: Message | InaccessibleMessage, command: Command) -> Actor:
        """Look up whether the actor is an admin here, if the button needs the right."""
        if command.permission is not Permission.ADMIN or actor.is_owner or not is_group(message.chat):
            return actor
        return replace(actor, is_admin=await self._admins.includes(message.chat.id, int(actor.user_id)))

    async def _show(self, query_id: str, here: Address, card: Card) -> None:
        """Show the card in place of the pressed one, unless a later press has turned the page again."""
        message = (here.chat, here.message)

        async def edit() -> None:
            if self._turning.get(message) != query_id:
                return
            try:
                await self._surface.edit(here, card)
            except NoPictures:
                await self._surface.edit(here, replace(card, pictures=()))

        self._turning[message] = query_id
        try:
            await retry_while_busy(edit)
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
