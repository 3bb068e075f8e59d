"""Actors, places and events: Discord's interactions as the core names them."""

from __future__ import annotations

from collections.abc import Container

import discord

from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.preferences import Languages

NAME = "discord"

LOCALES: dict[discord.Locale, str] = {
    discord.Locale.chinese: "zh_CN",
    discord.Locale.taiwan_chinese: "zh_CN",
}
"""Discord's locales that Easel supports, other than English."""


def locale_of(locale: discord.Locale) -> str:
    """Return the catalogue's locale for one of Discord's."""
    return LOCALES.get(locale, "en")


def language_of(interaction: discord.Interaction, languages: Languages) -> str:
    """Return the locale that the person behind an interaction has chosen, else that of their Discord."""
    return languages.locale(NAME, str(interaction.user.id), locale_of(interaction.locale))


def actor_of(interaction: discord.Interaction, owners: Container[str], languages: Languages) -> Actor:
    """Return the account behind an interaction; ``owners`` are the user ids of this Easel's owners.

    A user install of Easel gives no rights in the server where it is used.
    """
    user = interaction.user
    return Actor(
        platform=NAME,
        user_id=str(user.id),
        name=user.display_name,
        roles=roles_of(user) if interaction.is_guild_integration() else (),
        # With a user install alone, the server's admins have no rights over Easel.
        is_admin=interaction.is_guild_integration() and interaction.permissions.manage_guild,
        is_owner=str(user.id) in owners,
        locale=language_of(interaction, languages),
    )


def roles_of(user: discord.User | discord.Member) -> tuple[str, ...]:
    """Return the ids of a member's roles, without the one that everybody has; none of a user outside a server."""
    return (
        tuple(str(role.id) for role in user.roles if not role.is_default()) if isinstance(user, discord.Member) else ()
    )


def owners_of(application: discord.AppInfo | None) -> frozenset[str]:
    """Return the application's owners: its owner, or the members of its team who may administer it."""
    if application is None:
        return frozenset()
    team = application.team
    if team is None:
        return frozenset({str(application.owner.id)})
    # For a team, ``owner`` is the team itself. Invited and read-only members are no owners.
    return frozenset(
        str(member.id)
        for member in team.members
        if member.membership_state is discord.TeamMembershipState.accepted
        and (member.id == team.owner_id or member.role is not discord.TeamMemberRole.read_only)
    )


def place_of(interaction: discord.Interaction) -> Place:
    """Return the channel of an interaction.

    A thread counts as a channel: it has its own messages and rate limits. In a server with a user install alone, no
    rules hold, as in direct messages.
    """
    guild = interaction.guild if interaction.is_guild_integration() else None
    return Place(
        platform=NAME,
        guild=str(interaction.guild_id) if interaction.is_guild_integration() else None,
        channel=_channel_of(interaction),
        age_restricted=_age_restricted(interaction.channel),
        locale=None if interaction.guild_locale is None else locale_of(interaction.guild_locale),
        name="" if guild is None else guild.name,
    )


def ref_of(interaction: discord.Interaction, *, private: bool) -> EventRef:
    """Return the event and the address of its answer; the adapter sends that answer itself."""
    address = Address(
        platform=NAME,
        chat=_channel_of(interaction),
        user=str(interaction.user.id),
        token=interaction.token,
        expires=interaction.expires_at.timestamp(),
        private=private,
        max_file=interaction.filesize_limit,
    )
    return EventRef(event=f"{NAME}:interaction:{interaction.id}", address=address, answered=True)


def _channel_of(interaction: discord.Interaction) -> str:
    # Discord names the channel of every interaction; 0 is no channel.
    return str(interaction.channel_id or 0)


def _age_restricted(channel: object) -> bool:
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel):
        return channel.is_nsfw()
    return isinstance(channel, discord.Thread) and channel.is_nsfw()
