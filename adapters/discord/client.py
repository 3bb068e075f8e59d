"""The client of one connection: Easel's commands, presses of buttons and forms, and the shards that Discord asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket

from adapters.discord.commands import CatalogueTranslator, EaselCommandTree
from adapters.discord.errors import NETWORK
from adapters.discord.forms import values_of
from adapters.discord.identity import NAME, actor_of, language_of, owners_of, place_of, ref_of
from adapters.discord.presence import Presence
from adapters.discord.render import custom_ids
from adapters.discord.replies import InteractionAnswer, InteractionReplies
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import BadInput
from bot.core.people import Place
from bot.studio import Studio

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""A shard that reconnects within this time is not reported as a problem."""
CONNECT_SECONDS = 60.0


class SessionsUsedUp(Exception):
    """Discord allows a bot 1,000 sessions a day and resets its token after more; the next is allowed in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Discord allows no more sessions for {seconds:g} s")
        self.seconds = seconds


class EaselClient(discord.AutoShardedClient):
    """The command tree, one listener for presses and forms, no privileged intents."""

    def __init__(
        self,
        studio: Studio,
        replies: InteractionReplies,
        owners: Container[str],
        digest_file: Path,
        *,
        shards: int = 1,
        own_gateway: bool = False,
        proxy: str | None = None,
        connector: aiohttp.BaseConnector | None = None,
    ) -> None:
        """Args:
        studio: The core.
        replies: Answers interactions.
        owners: User ids that run this Easel.
        digest_file: Holds the digest of the commands that were registered last.
        shards: The minimum number of shards; Discord is asked how many it recommends.
        own_gateway: Whether the settings give the gateway's address, which is used in place of Discord's answer.
        proxy: Address of an HTTP proxy.
        connector: Speaks to a SOCKS proxy.
        """
        super().__init__(
            # Guilds only: their names, and whether a thread's channel is age-restricted.
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            shard_connect_timeout=CONNECT_SECONDS,
            proxy=proxy,
            connector=connector,
        )
        self._studio = studio
        self._digest_file = digest_file
        self._shards = shards
        self._own_gateway = own_gateway
        self._launched: set[int] = set()
        self._gateway = DiscordWebSocket.DEFAULT_GATEWAY
        self._away: dict[int, asyncio.TimerHandle] = {}
        self.presence = Presence(self, studio, asyncio.sleep)
        self.connected_at: float | None = None
        """Event loop time of the first shard's connection; None before it."""
        self._replies = replies
        self._buttons = ComponentPresses(studio, replies, owners)
        self.tree = EaselCommandTree(self, studio, replies, owners)

    async def setup_hook(self) -> None:
        """Register the commands if they differ from those registered last."""
        self._studio.add_owners(NAME, owners_of(self.application))
        await self.tree.set_translator(CatalogueTranslator(self._studio))
        digest = await self.tree.digest()
        known = await asyncio.to_thread(_read, self._digest_file)
        if digest == known:
            return
        try:
            await self.tree.sync()
        except (discord.DiscordException, *NETWORK):
            # The commands that are registered stay; the next start tries again.
            log.exception("Discord did not take the slash commands")
            return
        await asyncio.to_thread(_write, self._digest_file, digest)
        log.info("Discord took %d slash commands", len(self.tree.get_commands()))

    async def launch_shards(self) -> None:
        """Connect as many shards as Discord recommends.

        Raises:
            SessionsUsedUp: Discord allows no more sessions at present.
        """
        recommended = 0
        try:
            recommended, url, limits = await self.http.get_bot_gateway()
        except discord.GatewayNotFound:
            log.warning("Discord did not say how many shards it recommends")
        else:
            if limits["remaining"] < max(recommended, self._shards):
                raise SessionsUsedUp(limits["reset_after"] / 1000)
            if not self._own_gateway:
                self._gateway = yarl.URL(url)
        self.shard_count = max(recommended, self._shards)
        if self.shard_count > 1:
            log.info("Discord gets %d shards", self.shard_count)
        await super().launch_shards()

    async def launch_shard(self, gateway: yarl.URL, shard_id: int, *, initial: bool = False) -> None:  # noqa: ARG002 - see launch_shards
        """Connect one shard. With a known count of shards discord.py passes its own gateway, whatever Discord said.

        Raises:
            ConnectionError: It can't be connected. discord.py would retry every 5 s without end, one call deeper
                each time; the service's back-off takes over instead.
        """
        if shard_id in self._launched:
            raise ConnectionError("its gateway does not answer")
        self._launched.add(shard_id)
        await super().launch_shard(self._gateway, shard_id, initial=initial)

    async def on_shard_connect(self, shard_id: int) -> None:
        """Log the connection. Not in on_ready: discord.py fails there if it is closed within two seconds."""
        if self.connected_at is None:
            self.connected_at = self.loop.time()
            log.info("Discord is connected as %s", self.user)
        if self._own_gateway:
            # READY names an address of Discord's for resuming.
            self._get_websocket(shard_id=shard_id).gateway = self._gateway
        self.presence.is_new(shard_id)
        self._is_back(shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        """A lost connection has resumed its session."""
        self._is_back(shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """Report the shard if it does not reconnect in time; discord.py reconnects by itself."""
        if shard_id not in self._away and not self.is_closed():
            self._away[shard_id] = self.loop.call_later(GRACE_SECONDS, self._report)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """End what waits in a server that has removed the bot. Not called while Discord can't reach a server."""
        await self._studio.place_closed(Place(NAME, str(guild.id), ""))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Answer presses and forms, also when an error occurs."""
        try:
            await self._buttons.handle(interaction)
        except Exception as error:  # noqa: BLE001 - nobody is left with "the application did not respond"
            await self._replies.apologise(interaction, error)

    async def close(self) -> None:
        """Close every connection."""
        for timer in self._away.values():
            timer.cancel()
        await super().close()

    def _is_back(self, shard_id: int) -> None:
        if (timer := self._away.pop(shard_id, None)) is not None:
            timer.cancel()
        if not self._away:
            self._studio.connection_problem(NAME, None)

    def _report(self) -> None:
        self._studio.connection_problem(NAME, "Discord's gateway closed the connection; Easel connects again.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="ascii")


class ComponentPresses:
    """Passes presses to Studio and shows the result."""

    def __init__(self, studio: Studio, replies: InteractionReplies, owners: Container[str]) -> None:
        self._studio = studio
        self._replies = replies
        self._owners = owners

    async def handle(self, interaction: discord.Interaction) -> None:
        """Answer a press or a form. The command tree answers slash commands."""
        is_form = interaction.type is discord.InteractionType.modal_submit
        if not is_form and interaction.type is not discord.InteractionType.component:
            return
        press = ButtonPress.unpack(interaction.custom_id or "")
        command = None if press is None else self._studio.commands.by_action.get(press.action)
        if command is None or (command.on_private_card and not _is_on_private_card(interaction)):
            press = command = None
        updates = command is not None and command.updates and not is_form and _is_on_message(interaction)
        private = interaction.message is not None and interaction.message.flags.ephemeral
        opens = not is_form and command is not None and command.form
        await self._replies.respond(
            interaction,
            ref_of(interaction, private=private),
            language_of(interaction, self._studio),
            self._answer(interaction, press, private=private, updates=updates),
            private=private or press is None or opens,
            updates=updates,
            opens=opens,
        )

    async def _answer(
        self, interaction: discord.Interaction, press: ButtonPress | None, *, private: bool, updates: bool
    ) -> InteractionAnswer:
        is_form = interaction.type is discord.InteractionType.modal_submit
        if press is None or (is_form and not self._studio.commands.by_action[press.action].form):
            raise BadInput("discord.form.old" if is_form else "refusal.press.unreadable")
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)
        ref = ref_of(interaction, private=private)
        if is_form:
            pressed = await self._studio.submit(actor, place, press, values_of(interaction), ref)
        else:
            pressed = await self._studio.press(actor, place, press, ref)
        if pressed.form is not None:
            return InteractionAnswer(self._studio.typed_form(pressed.form, actor.locale), form=pressed.form)
        if pressed.menu is not None:
            return InteractionAnswer(pressed.menu.card, updates=updates)
        if pressed.new is not None:
            return InteractionAnswer(pressed.new.card, pressed.new.job_id)
        if pressed.card is not None and updates:
            return InteractionAnswer(pressed.card, updates=True, notice=pressed.notice)
        if pressed.card is not None and pressed.card.provisional:
            return InteractionAnswer(pressed.card)
        if pressed.card is not None:
            return InteractionAnswer(replace(pressed.card, private=True), notice=pressed.notice)
        if pressed.notice or pressed.files:
            card = Card(
                Tone.INFO, pressed.notice, pictures=pressed.files, private=True, final=True, locale=actor.locale
            )
            return InteractionAnswer(card, as_they_are=True)
        return InteractionAnswer(None)


def _is_on_message(interaction: discord.Interaction) -> bool:
    """Whether the interaction's message has this button, so that the press may change the message."""
    message = interaction.message
    if message is None:
        return False
    return interaction.custom_id is not None and interaction.custom_id in custom_ids(message.components)


def _is_on_private_card(interaction: discord.Interaction) -> bool:
    """Whether the message has this button and only the person who pressed it sees it."""
    return _is_on_message(interaction) and interaction.message is not None and interaction.message.flags.ephemeral
