"""Delivery to Discord: by the interaction's token, then by the bot's own, then as a new message; never twice."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import discord

from adapters.discord.faults import NETWORK
from adapters.discord.pictures import FILE_BYTES, Upload, uploads
from adapters.discord.render import embed_of, view_of
from bot.model.cards import Card
from bot.model.messages import Address
from bot.model.pictures import PictureFile
from bot.ports import Abilities, Busy, Gone, Unclear
from engine.contract import Profile

log = logging.getLogger(__name__)

T = TypeVar("T")
Send = Callable[[dict[str, Any]], Awaitable[T]]

ABILITIES = Abilities(
    # Discord takes about 5 edits in 5 s per channel; one in 1.25 s leaves room for answers to presses.
    edit_every=1.25,
    safe_resend=True,
    pictures_in_card=10,
    private_send=True,
    max_file=FILE_BYTES,
)
MARGIN = 10.0
"""Seconds before its end from which an interaction's token is not begun to be used any more."""
AWAY = 2.0
"""Seconds until the next try while Discord can't be reached."""
NONCE_CHARS = 25
TOO_LARGE = 40005
TOKEN_ENDED = frozenset({10015, 50027})
"""Unknown webhook, invalid webhook token: the interaction's token is over."""


class DiscordSurface:
    """Shows cards in Discord (``bot.ports.Surface``). Without a connected client everything is Busy."""

    def __init__(self, profiles: Callable[[], Sequence[Profile]], now: Callable[[], float] = time.time) -> None:
        self._profiles = profiles
        self._now = now
        self._client: discord.Client | None = None

    def use(self, client: discord.Client | None) -> None:
        """Speak through this client from now on; None while there is none."""
        self._client = client

    def abilities(self) -> Abilities:
        """What Discord can do."""
        return ABILITIES

    async def edit(self, address: Address, card: Card) -> Address:
        """Make the message show the card: by the interaction's token while it lasts, then by the bot's own.

        Raises:
            Gone: It was deleted, or can't be edited any more (an ephemeral one after 15 minutes).
            Busy: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        if address.message is None:
            raise Gone("no message is known")
        message = int(address.message)
        hook = self._hook(client, address)
        if hook is not None:
            try:
                await self._sent(card, lambda shown: hook.edit_message(message, **shown), edits=True)
            except _TokenEnded:
                pass
            else:
                return address
        if address.private:
            raise Gone("an ephemeral message can't be edited after its 15 minutes")
        channel = client.get_partial_messageable(int(address.chat))
        known = channel.get_partial_message(message)
        await self._sent(card, lambda shown: known.edit(**shown), edits=True)
        return replace(address, token=None, expires=None)

    async def send(self, address: Address, card: Card, key: str) -> Address:
        """Send the card anew: in the channel, naming the asker; a private one as a direct message.

        The nonce makes a repeated send one message. Where the answer to the interaction may be there already (the
        service ended between answering and storing that), it is found and edited instead.

        Raises:
            Gone: The channel or the person can't be written to.
            Busy: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        private = card.private or address.private
        if address.message is None and (found := await self._original(client, address, private=private)) is not None:
            return await self.edit(found, card)
        if private:
            direct = await self._direct(client, address)
            target, content, mentions = client.get_partial_messageable(direct), None, discord.AllowedMentions.none()
            address = replace(address, chat=str(direct), private=False)
        else:
            target = client.get_partial_messageable(int(address.chat))
            content, mentions = _mention(address)
        nonce = key if len(key) <= NONCE_CHARS else hashlib.sha256(key.encode()).hexdigest()[:NONCE_CHARS]
        sent = await self._sent(
            card, lambda shown: target.send(content, nonce=nonce, allowed_mentions=mentions, **shown), edits=False
        )
        return replace(address, message=str(sent.id), token=None, expires=None)

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        """Send pictures beside the card, as they are or enlarged; returns the message's id.

        Raises:
            Gone: The channel or the person can't be written to.
            Busy: Discord's limits, or Discord can't be reached.
            Unclear: The connection broke; they may have arrived.
        """
        client = self._ready()
        for small in (False, True):
            ready = await uploads(files, () if originals else self._profiles(), small=small)
            try:
                return await self._send_files(client, address, ready)
            except _TooLarge:
                log.info("Discord found files too large; sending them smaller")
        raise Gone("the files are too large for this place")

    async def remove(self, address: Address, card: Card) -> None:  # noqa: ARG002 - one's own messages can be deleted for ever
        """Delete the message: by the interaction's token while it lasts, then by the bot's own.

        Raises:
            Gone: It is not there, or can't be deleted any more (an ephemeral one after 15 minutes).
            Busy: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        if address.message is None:
            raise Gone("no message is known")
        message = int(address.message)
        hook = self._hook(client, address)
        if hook is not None:
            try:
                await _asked(hook.delete_message(message))
            except _TokenEnded:
                pass
            else:
                return
        if address.private:
            raise Gone("an ephemeral message can't be deleted after its 15 minutes")
        channel = client.get_partial_messageable(int(address.chat))
        await _asked(channel.get_partial_message(message).delete())

    async def _send_files(self, client: discord.Client, address: Address, ready: Sequence[Upload]) -> tuple[str, ...]:
        hook = self._hook(client, address)
        if hook is not None:
            made = [u.file() for u in ready]
            try:
                shown = await _asked(hook.send(files=made, ephemeral=address.private, wait=True), repeats=False)
            except _TokenEnded:
                pass
            else:
                return (str(shown.id),)
        channel = await self._direct(client, address) if address.private else int(address.chat)
        target = client.get_partial_messageable(channel)
        sent = await _asked(target.send(files=[u.file() for u in ready]), repeats=False)
        return (str(sent.id),)

    def _ready(self) -> discord.Client:
        if self._client is None:
            raise Busy(AWAY)
        return self._client

    def _hook(self, client: discord.Client, address: Address) -> discord.Webhook | None:
        """The interaction's own way to its messages, while its token lasts."""
        over = address.expires is not None and self._now() > address.expires - MARGIN
        if address.token is None or over or client.application_id is None:
            return None
        hook = discord.Webhook.partial(client.application_id, address.token, client=client)
        # A partial webhook takes itself for a channel's; only an application's may send ephemeral messages.
        hook.type = discord.WebhookType.application
        return hook

    async def _original(self, client: discord.Client, address: Address, *, private: bool) -> Address | None:
        hook = self._hook(client, address)
        if hook is None:
            return None
        # discord.py types the id as a number; the path takes this word as well.
        word = cast("int", "@original")
        try:
            found = await _asked(hook.fetch_message(word))
        except (Gone, _TokenEnded):
            return None
        if found.flags.ephemeral != private:
            return None
        return replace(address, message=str(found.id), private=private)

    async def _direct(self, client: discord.Client, address: Address) -> int:
        if address.user is None:
            raise Gone("nobody to write to")
        return (await _asked(client.create_dm(discord.Object(int(address.user))))).id

    async def _sent(self, card: Card, send: Send[T], *, edits: bool) -> T:
        """Send or edit; once more with smaller files when Discord finds them too large."""
        for small in (False, True):
            shown = await self._shown(card, edits=edits, small=small)
            try:
                return await _asked(send(shown))
            except _TooLarge:
                log.info("Discord found the pictures of job %s too large; sending them smaller", card.job_id)
        raise Gone("the pictures are too large for this place")

    async def _shown(self, card: Card, *, edits: bool, small: bool) -> dict[str, Any]:
        embed, view = embed_of(card), view_of(card)
        try:
            # Pictures of a job alone are a model's own; a contact sheet has the size that it shall have.
            profiles = () if card.job_id is None else self._profiles()
            ready = await uploads(card.pictures, profiles, small=small) if card.pictures else ()
        except OSError as error:
            log.error("The pictures of job %s can't be read: %s", card.job_id, error)
            ready = ()
        files = [u.file() for u in ready]
        shown: dict[str, Any] = {"embeds": [embed] if embed else []}
        if edits:
            return {**shown, "view": view, "attachments": files, "allowed_mentions": discord.AllowedMentions.none()}
        return {**shown, **({"view": view} if view else {}), **({"files": files} if files else {})}


class _TokenEnded(Exception):
    """The interaction's token is over."""


class _TooLarge(Exception):
    """A file or the request is over this place's limit."""


async def _asked(request: Awaitable[T], *, repeats: bool = True) -> T:
    """Await a request and name its failure in the core's words.

    Args:
        request: What to ask of Discord.
        repeats: Whether asking once more does no harm; else a broken connection is Unclear.
    """
    try:
        return await request
    except discord.RateLimited as error:
        raise Busy(error.retry_after) from error
    except discord.HTTPException as error:
        raise _meaning(error, repeats=repeats) from error
    except NETWORK as error:
        raise (Busy(AWAY) if repeats else Unclear(str(error))) from error


def _meaning(error: discord.HTTPException, *, repeats: bool) -> Exception:
    if error.code in TOKEN_ENDED:
        return _TokenEnded()
    if error.status == 413 or error.code == TOO_LARGE:
        return _TooLarge()
    if error.status == 429:
        return Busy(float(error.response.headers.get("Retry-After", AWAY)))
    if error.status >= 500:
        return Busy(AWAY) if repeats else Unclear(f"Discord answered {error.status}")
    if error.status == 401:
        # The bot's own token was refused: the service says so, and somebody may put it right.
        return Busy(60.0)
    if error.status == 400:
        log.warning("Discord refused a message: code %s", error.code)
    return Gone(f"{error.status} {error.code}")


def _mention(address: Address) -> tuple[str | None, discord.AllowedMentions]:
    """A late message tells its asker, and nobody else, that it is there."""
    if address.user is None:
        return None, discord.AllowedMentions.none()
    asker = discord.Object(int(address.user))
    return f"<@{asker.id}>", discord.AllowedMentions(everyone=False, roles=False, replied_user=False, users=[asker])
