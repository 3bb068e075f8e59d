"""Delivery to Discord: by the interaction's token, then by the bot's token, then as a new message; never twice."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import aiohttp
import discord
import yarl

from adapters.discord.errors import ARCHIVED, NETWORK, TOKEN_ENDED, is_too_large, log_refusal
from adapters.discord.pictures import FILE_BYTES, Upload, uploads
from adapters.discord.render import MessageParts, Words, show_with_fallbacks
from adapters.discord.sources import is_of_discord
from adapters.discord.webhooks import use_once
from adapters.downloads import download
from bot.core.cards import Card
from bot.core.file_marks import SignCopy, unsigned
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.core.ports import Abilities, Gone, RetryLater, Unclear
from bot.core.requests import PictureSource
from engine.contract import Profile

log = logging.getLogger(__name__)

T = TypeVar("T")
Show = Callable[[MessageParts], Awaitable[T]]

ABILITIES = Abilities(
    # Discord takes about 5 edits in 5 s per channel; one in 1.25 s leaves room for answers to presses.
    edit_every=1.25,
    safe_resend=True,
    pictures_in_card=10,
    private_send=True,
    max_file=FILE_BYTES,
    preview_every=4.0,
)
MARGIN = 10.0
"""Seconds before its expiry from which an interaction's token is no longer used."""
AWAY = 2.0
"""Seconds until the next try while Discord is unreachable."""
NONCE_CHARS = 25
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


class DiscordSurface:
    """Shows cards in Discord (``bot.core.ports.Surface``). Without a connected client every call raises RetryLater."""

    def __init__(
        self,
        profiles: Callable[[], Sequence[Profile]],
        words: Words,
        now: Callable[[], float] = time.time,
        *,
        sign: SignCopy = unsigned,
    ) -> None:
        """Args:
        profiles: The models; small pictures are shown enlarged as their profile says. Asked each time.
        words: The catalogues, for notes about fallbacks.
        now: Unix seconds.
        sign: Signs files that differ from the stored ones.
        """
        self._profiles = profiles
        self._words = words
        self._now = now
        self._sign = sign
        self._client: discord.Client | None = None

    def use(self, client: discord.Client | None) -> None:
        """Use this client from now on; None while there is none."""
        self._client = client

    def abilities(self) -> Abilities:
        """What Discord can do."""
        return ABILITIES

    def wait(self, address: Address) -> float:  # noqa: ARG002 - one answer for all addresses
        """Return 0: discord.py waits for the limits of each route."""
        return 0.0

    async def edit(self, address: Address, card: Card) -> Address:
        """Edit the message to show the card: by the interaction's token until it expires, then by the bot's token.

        Raises:
            Gone: It was deleted, or can't be edited any more (an ephemeral one after 15 minutes).
            NoPictures: Discord refused the card with its preview.
            RetryLater: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        if address.message is None:
            raise Gone("no message is known")
        message, chat = int(address.message), int(address.chat)
        hook = self._hook(client, address)
        if hook is not None:
            try:
                await self._shown(client, address, card, lambda parts: hook.edit_message(message, **parts.edit()))
            except _TokenEnded:
                pass
            else:
                return address
        if address.private:
            raise Gone("an ephemeral message can't be edited after its 15 minutes")
        known = client.get_partial_messageable(chat).get_partial_message(message)
        nobody = discord.AllowedMentions.none()

        async def edit(parts: MessageParts) -> None:
            await known.edit(allowed_mentions=nobody, **parts.edit())

        # A late message names its asker by a mention, and keeps it.
        await self._shown(client, address, card, edit, mention=_asker(address))
        return replace(address, token=None, expires=None)

    async def send(self, address: Address, card: Card, key: str) -> Address:
        """Send the card as a new message: in the channel, mentioning the asker, or directly if it is private.

        The nonce makes a repeated send one message. An answer to the interaction that was sent but not stored is found
        and edited instead. If the bot may no longer write in the channel, the card goes to the person directly.

        Raises:
            Gone: Neither the channel nor the person can be written to.
            RetryLater: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        private = card.private or address.private
        if address.message is None and (found := await self._original(client, address, private=private)) is not None:
            try:
                return await self.edit(found, card)
            except Gone:
                log.info("The first answer of job %s can't be edited; its card is sent anew", card.job_id)
        nonce = key if len(key) <= NONCE_CHARS else hashlib.sha256(key.encode()).hexdigest()[:NONCE_CHARS]
        if not private:
            try:
                return await self._send(client, address, card, nonce)
            except Gone:
                if address.user is None:
                    raise
                card = replace(card, notes=(self._words("discord.sent.directly", card.locale), *card.notes))
        direct = await self._direct(client, address)
        return await self._send(client, replace(address, chat=str(direct), max_file=None), card, nonce, direct=True)

    async def _send(
        self, client: discord.Client, address: Address, card: Card, nonce: str, *, direct: bool = False
    ) -> Address:
        mention = None if direct else _asker(address)
        target = client.get_partial_messageable(int(address.chat))

        async def send(parts: MessageParts) -> str:
            sent = await target.send(nonce=nonce, allowed_mentions=_notifying(mention), **parts.new())
            return str(sent.id)

        sent = await self._shown(client, address, card, send, mention=mention)
        return replace(address, message=sent, token=None, expires=None, private=False)

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        """Send pictures in addition to the card, original or enlarged; returns the message's id.

        Raises:
            Gone: The channel or the person can't be written to.
            RetryLater: Discord's limits, or Discord can't be reached.
            Unclear: The connection broke; they may have arrived.
        """
        client = self._ready()
        for small in (False, True):
            try:
                ready = await uploads(
                    files,
                    () if originals else self._profiles(),
                    small=small,
                    max_file=address.max_file,
                    sign=self._sign,
                )
            except OSError as error:
                log.error("Files can't be read: %s", error)
                raise Gone("the files can't be read") from error
            try:
                return await self._send_files(client, address, ready)
            except _TooLarge:
                log.info("Discord found files too large; sending them smaller")
            except _Archived:
                await _asked(_opened(client, int(address.chat)), "opening an archived thread")
                return await self._send_files(client, address, ready)
            except Gone:
                if address.private or address.user is None:
                    raise
                return await self._send_files(client, replace(address, private=True, token=None, max_file=None), ready)
        raise Gone("the files are too large for this place")

    async def fetch(self, source: PictureSource, limit: int) -> bytes:
        """Return the file of an attachment; its address is the one that Discord gave.

        Raises:
            Gone: Discord has no such file any more, or the address is none of Discord's.
            TooLarge: It has more than ``limit`` bytes.
            RetryLater: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        url = yarl.URL(source.location)
        if not is_of_discord(url):
            raise Gone("the address is none of Discord's")
        http = client.http
        # The client's own connector, which may lead to a SOCKS proxy; it stays open.
        async with aiohttp.ClientSession(
            connector=http.connector, connector_owner=False, timeout=_NO_TIMEOUT
        ) as session:
            return await download(session, url, limit, proxy=http.proxy)

    async def remove(self, address: Address, card: Card) -> None:  # noqa: ARG002 - the bot can delete its own messages at any age
        """Delete the message: by the interaction's token until it expires, then by the bot's token.

        Raises:
            Gone: It is not there, or can't be deleted any more (an ephemeral one after 15 minutes).
            RetryLater: Discord's limits, or Discord can't be reached.
        """
        client = self._ready()
        if address.message is None:
            raise Gone("no message is known")
        message = int(address.message)
        hook = self._hook(client, address)
        if hook is not None:
            try:
                await _asked(hook.delete_message(message), "deleting a message")
            except _TokenEnded:
                pass
            else:
                return
        if address.private:
            raise Gone("an ephemeral message can't be deleted after its 15 minutes")
        channel = client.get_partial_messageable(int(address.chat))
        await _asked(channel.get_partial_message(message).delete(), "deleting a message")

    async def _send_files(self, client: discord.Client, address: Address, ready: Sequence[Upload]) -> tuple[str, ...]:
        hook = self._hook(client, address)
        if hook is not None:
            made = [u.file() for u in ready]
            try:
                shown = await _asked(
                    hook.send(files=made, ephemeral=address.private, wait=True), "files", repeats=False
                )
            except _TokenEnded:
                pass
            else:
                return (str(shown.id),)
        channel = await self._direct(client, address) if address.private else int(address.chat)
        target = client.get_partial_messageable(channel)
        # discord.py retries after a 5xx: the nonce keeps the files from being sent twice.
        nonce = secrets.token_hex(NONCE_CHARS // 2)
        sent = await _asked(target.send(files=[u.file() for u in ready], nonce=nonce), "files", repeats=False)
        return (str(sent.id),)

    def _ready(self) -> discord.Client:
        if self._client is None:
            raise RetryLater(AWAY)
        return self._client

    def _hook(self, client: discord.Client, address: Address) -> discord.Webhook | None:
        """Return the webhook of the interaction; None once its token has expired."""
        over = address.expires is not None and self._now() > address.expires - MARGIN
        if address.token is None or over or client.application_id is None:
            return None
        use_once()
        hook = discord.Webhook.partial(client.application_id, address.token, client=client)
        # A partial webhook counts as a channel's; only an application's may send ephemeral messages.
        hook.type = discord.WebhookType.application
        return hook

    async def _original(self, client: discord.Client, address: Address, *, private: bool) -> Address | None:
        hook = self._hook(client, address)
        if hook is None:
            return None
        # discord.py types the id as a number; the path also takes this word.
        word = cast("int", "@original")
        try:
            found = await _asked(hook.fetch_message(word), "a look at the first answer")
        except (Gone, _TokenEnded):
            return None
        if found.flags.ephemeral != private:
            return None
        return replace(address, message=str(found.id), private=private)

    async def _direct(self, client: discord.Client, address: Address) -> int:
        if address.user is None:
            raise Gone("nobody to write to")
        asked = client.create_dm(discord.Object(int(address.user)))
        return (await _asked(asked, "a direct message")).id

    async def _shown(
        self, client: discord.Client, address: Address, card: Card, show: Show[T], *, mention: int | None = None
    ) -> T:
        """Show as much of a card as Discord accepts; an archived thread is unarchived."""
        what = "a card" if card.job_id is None else f"the card of job {card.job_id}"
        # Only a job's pictures are enlarged; a contact sheet already has its final size.
        profiles = () if card.job_id is None else self._profiles()

        async def shown() -> T:
            return await show_with_fallbacks(
                card,
                show,
                what=what,
                words=self._words,
                profiles=profiles,
                mention=mention,
                max_file=address.max_file,
                sign=self._sign,
            )

        try:
            return await _asked(shown(), what)
        except _Archived:
            await _asked(_opened(client, int(address.chat)), "opening an archived thread")
            return await _asked(shown(), what)


class _TokenEnded(Exception):
    """The interaction's token has expired."""


class _Archived(Gone):
    """The thread is archived; it can be unarchived."""


class _TooLarge(Gone):
    """A file or the request exceeds this place's limit."""


async def _opened(client: discord.Client, chat: int) -> None:
    """Unarchive a thread."""
    thread = await client.fetch_channel(chat)
    if isinstance(thread, discord.Thread):
        await thread.edit(archived=False)


async def _asked(request: Awaitable[T], what: str, *, repeats: bool = True) -> T:
    """Await a request and translate its error for the core; refusals are logged.

    Args:
        request: The request.
        what: Name of the card or request in the log.
        repeats: Whether the request is safe to repeat; else a broken connection raises Unclear.
    """
    try:
        return await request
    except discord.RateLimited as error:
        raise RetryLater(error.retry_after) from error
    except discord.HTTPException as error:
        if error.code not in TOKEN_ENDED:
            log_refusal(what, error)
        raise _meaning(error, repeats=repeats) from error
    except discord.InvalidData as error:
        # The response has a channel type or a server that discord.py does not know.
        raise Gone(str(error)) from error
    except NETWORK as error:
        raise (RetryLater(AWAY, unclear=True) if repeats else Unclear(str(error))) from error


def _meaning(error: discord.HTTPException, *, repeats: bool) -> Exception:
    if error.code in TOKEN_ENDED:
        return _TokenEnded()
    if error.code == ARCHIVED:
        return _Archived("the thread is archived")
    if is_too_large(error):
        return _TooLarge("too large for this place")
    if error.status == 429:
        return RetryLater(float(error.response.headers.get("Retry-After", AWAY)))
    if error.status >= 500:
        return RetryLater(AWAY, unclear=True) if repeats else Unclear(f"Discord answered {error.status}")
    if error.status == 401:
        # The bot's token was refused: the service reports it, and the operator may correct it.
        return RetryLater(60.0)
    return Gone(f"{error.status} {error.code}")


def _asker(address: Address) -> int | None:
    """Return the id of the person whose request a message answers."""
    return None if address.user is None else int(address.user)


def _notifying(asker: int | None) -> discord.AllowedMentions:
    """Return the mentions of a late message, which notifies its asker alone."""
    if asker is None:
        return discord.AllowedMentions.none()
    return discord.AllowedMentions(everyone=False, roles=False, replied_user=False, users=[discord.Object(asker)])
