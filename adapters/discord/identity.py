"""Who acts, where, and which event it was: Discord's interactions in the core's words."""

from __future__ import annotations

from collections.abc import Collection

import discord

from bot.model.messages import Address, Ref
from bot.model.people import Actor, Place

PLATFORM = "discord"

LOCALES: dict[discord.Locale, str] = {
    discord.Locale.chinese: "zh_CN",
    discord.Locale.taiwan_chinese: "zh_CN",
}
"""Discord's languages that Easel speaks, other than English."""


def locale_of(locale: discord.Locale) -> str:
    """Return the catalogue for one of Discord's languages."""
    return LOCALES.get(locale, "en")


def actor_of(interaction: discord.Interaction, owners: Collection[str]) -> Actor:
    """Name the account behind an interaction; ``owners`` are the user ids that run this Easel."""
    user = interaction.user
    roles: tuple[str, ...] = ()
    if isinstance(user, discord.Member):
        roles = tuple(str(r.id) for r in user.roles if not r.is_default())
    return Actor(
        platform=PLATFORM,
        user_id=str(user.id),
        name=user.display_name,
        roles=roles,
        is_admin=interaction.guild_id is not None and interaction.permissions.manage_guild,
        is_owner=str(user.id) in owners,
        locale=locale_of(interaction.locale),
    )


def place_of(interaction: discord.Interaction) -> Place:
    """Name the channel that an interaction comes from; a thread belongs to the channel that it hangs on."""
    channel, guild = interaction.channel, interaction.guild
    chat, thread = _chat_of(interaction)
    return Place(
        platform=PLATFORM,
        guild=None if interaction.guild_id is None else str(interaction.guild_id),
        channel=chat,
        thread=thread,
        age_restricted=_age_restricted(channel),
        locale=None if interaction.guild_locale is None else locale_of(interaction.guild_locale),
        name="" if guild is None else guild.name,
    )


def ref_of(interaction: discord.Interaction, *, private: bool) -> Ref:
    """Name the event and where its answer belongs; the adapter makes that answer by itself."""
    chat, thread = _chat_of(interaction)
    address = Address(
        platform=PLATFORM,
        chat=chat,
        thread=thread,
        user=str(interaction.user.id),
        token=interaction.token,
        expires=interaction.expires_at.timestamp(),
        private=private,
    )
    return Ref(event=f"{PLATFORM}:interaction:{interaction.id}", address=address, answered=True)


def _chat_of(interaction: discord.Interaction) -> tuple[str, str | None]:
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return str(channel.parent_id), str(channel.id)
    # Discord names the channel of every interaction; 0 is nobody's channel.
    return str(interaction.channel_id or 0), None


def _age_restricted(channel: object) -> bool:
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel):
        return channel.is_nsfw()
    return isinstance(channel, discord.Thread) and channel.is_nsfw()
