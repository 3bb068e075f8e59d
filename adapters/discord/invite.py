"""The link that adds the bot to a server, with the permissions that the adapter uses and no others."""

from __future__ import annotations

import discord

PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    # Also what opens an archived thread again.
    send_messages_in_threads=True,
    attach_files=True,
)
"""What the bot needs in a channel.

Answers to commands need none of them; cards of jobs that are drawn for longer than 15 minutes do.
"""
SCOPES = ("bot", "applications.commands")


def invite_link(application_id: int) -> str:
    """Return the address where a server's manager adds the bot."""
    return discord.utils.oauth_url(application_id, permissions=PERMISSIONS, scopes=SCOPES)
