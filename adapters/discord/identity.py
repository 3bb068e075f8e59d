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
    """Name the channel that an interaction comes from. A thread is a channel of its own in Discord: it has its own
    messages and its own limits.
    """
    guild = interaction.guild
    return Place(
        platform=PLATFORM,
        guild=None if interaction.guild_id is None else str(interaction.guild_id),
        channel=_channel_of(interaction),
        age_restricted=_age_restricted(interaction.channel),
        locale=None if interaction.guild_locale is None else locale_of(interaction.guild_locale),
        name="" if guild is None else guild.name,
    )


def ref_of(interaction: discord.Interaction, *, private: bool) -> Ref:
    """Name the event and where its answer belongs; the adapter makes that answer by itself."""
    address = Address(
        platform=PLATFORM,
        chat=_channel_of(interaction),
        user=str(interaction.user.id),
        token=interaction.token,
        expires=interaction.expires_at.timestamp(),
        private=private,
    )
    return Ref(event=f"{PLATFORM}:interaction:{interaction.id}", address=address, answered=True)


def _channel_of(interaction: discord.Interaction) -> str:
    # Discord names the channel of every interaction; 0 is nobody's.
    return str(interaction.channel_id or 0)


def _age_restricted(channel: object) -> bool:
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel):
        return channel.is_nsfw()
    return isinstance(channel, discord.Thread) and channel.is_nsfw()
