"""Who acts, where, and which event it was: Discord's interactions in the core's words."""

from __future__ import annotations

from collections.abc import Container

import discord

from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place

PLATFORM = "discord"

LOCALES: dict[discord.Locale, str] = {
    discord.Locale.chinese: "zh_CN",
    discord.Locale.taiwan_chinese: "zh_CN",
}
"""Discord's languages that Easel speaks, other than English."""


def locale_of(locale: discord.Locale) -> str:
    """Return the catalogue for one of Discord's languages."""
    return LOCALES.get(locale, "en")


def actor_of(interaction: discord.Interaction, owners: Container[str]) -> Actor:
    """Name the account behind an interaction; ``owners`` are the user ids that run this Easel.

    Whoever uses Easel by an installation of their own has no rights in the server where they do.
    """
    user = interaction.user
    roles: tuple[str, ...] = ()
    if isinstance(user, discord.Member) and interaction.is_guild_integration():
        roles = tuple(str(r.id) for r in user.roles if not r.is_default())
    return Actor(
        platform=PLATFORM,
        user_id=str(user.id),
        name=user.display_name,
        roles=roles,
        # Where only a person has installed Easel for themselves, the server's admins have no say in it.
        is_admin=interaction.is_guild_integration() and interaction.permissions.manage_guild,
        is_owner=str(user.id) in owners,
        locale=locale_of(interaction.locale),
    )


def owners_of(application: discord.AppInfo | None) -> frozenset[str]:
    """Name the user ids that Discord calls the application's own: its owner, or the members of its team who may run it."""
    if application is None:
        return frozenset()
    team = application.team
    if team is None:
        return frozenset({str(application.owner.id)})
    # Discord names the team itself as the owner then. Who was only invited, or may only look on, runs nothing.
    return frozenset(
        str(member.id)
        for member in team.members
        if member.membership_state is discord.TeamMembershipState.accepted
        and (member.id == team.owner_id or member.role is not discord.TeamMemberRole.read_only)
    )


def place_of(interaction: discord.Interaction) -> Place:
    """Name the channel that an interaction comes from. A thread is a channel of its own in Discord: it has its own
    messages and its own limits. A server in which only the person has installed Easel, for themselves, is no place
    that has rules: there it is as in direct messages.
    """
    guild = interaction.guild if interaction.is_guild_integration() else None
    return Place(
        platform=PLATFORM,
        guild=str(interaction.guild_id) if interaction.is_guild_integration() else None,
        channel=_channel_of(interaction),
        age_restricted=_age_restricted(interaction.channel),
        locale=None if interaction.guild_locale is None else locale_of(interaction.guild_locale),
        name="" if guild is None else guild.name,
    )


def ref_of(interaction: discord.Interaction, *, private: bool) -> EventRef:
    """Name the event and where its answer belongs; the adapter makes that answer by itself."""
    address = Address(
        platform=PLATFORM,
        chat=_channel_of(interaction),
        user=str(interaction.user.id),
        token=interaction.token,
        expires=interaction.expires_at.timestamp(),
        private=private,
    )
    return EventRef(event=f"{PLATFORM}:interaction:{interaction.id}", address=address, answered=True)


def _channel_of(interaction: discord.Interaction) -> str:
    # Discord names the channel of every interaction; 0 is nobody's.
    return str(interaction.channel_id or 0)


def _age_restricted(channel: object) -> bool:
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel):
        return channel.is_nsfw()
    return isinstance(channel, discord.Thread) and channel.is_nsfw()
