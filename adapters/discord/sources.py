"""Pictures of people's messages and options on Discord, by the addresses that Discord itself gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import discord
import yarl
from discord.http import Route

from bot.core.requests import PictureSource

FILE_HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
"""Hosts of the files that people send (https://discord.com/developers/docs/reference#image-formatting)."""
_IMAGE = "image/"


def is_of_discord(url: yarl.URL) -> bool:
    """Whether an address is that of a file on Discord, or on the server that stands in for it in the settings."""
    own = yarl.URL(Route.BASE)
    if not url.is_absolute():
        return False
    return url.origin() == own.origin() or (url.scheme == "https" and url.host in FILE_HOSTS and url.port == 443)


def source_of(attachment: discord.Attachment) -> PictureSource:
    """Return an uploaded file as a picture; what it really is shows when it is read."""
    return PictureSource(str(attachment.id), attachment.url, attachment.size)


def pictures_in(message: discord.Message) -> tuple[PictureSource, ...]:
    """Return the pictures of a message that Discord itself holds, in order: uploads, and those that its parts show.

    Pictures of other servers, which embeds of links show, are left out.
    """
    found = [source_of(file) for file in message.attachments if (file.content_type or "").startswith(_IMAGE)]
    media: list[tuple[str | None, str | None]] = [(one.proxy_url, one.url) for one in _media(message.components)]
    media += [(one.proxy_url, one.url) for embed in message.embeds for one in (embed.image, embed.thumbnail)]
    by_address = {source.location.partition("?")[0]: source for source in found}
    for proxied, given in media:
        address = proxied or given
        if address and is_of_discord(yarl.URL(address)):
            by_address.setdefault(address.partition("?")[0], PictureSource(address.partition("?")[0], address))
    return tuple(by_address.values())


def _media(components: Iterable[object]) -> Iterator[discord.UnfurledMediaItem]:
    for part in components:
        if isinstance(part, discord.Container | discord.SectionComponent):
            yield from _media(part.children)
        if isinstance(part, discord.SectionComponent):
            yield from _media((part.accessory,))
        elif isinstance(part, discord.MediaGalleryComponent):
            yield from (item.media for item in part.items)
        elif isinstance(part, discord.ThumbnailComponent):
            yield part.media
