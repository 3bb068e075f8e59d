"""Permissions: an owner may act anywhere, an admin or a member of an admin role in their own place."""

from __future__ import annotations

from bot.commands.model import Permission
from bot.core.errors import NotAllowed
from bot.core.jobs import Job
from bot.core.people import Actor, Place
from bot.storage import jobs, people
from bot.storage.database import Tx

ADMIN_ROLES = "admin_roles"
"""Option of a place: ids of the roles whose members are its admins."""


async def is_admin(tx: Tx, actor: Actor, place: Place) -> bool:
    """Return whether somebody may set rules in this place. In direct messages only owners may."""
    if actor.is_owner:
        return True
    if place.guild is None:
        return False
    if actor.is_admin:
        return True
    return bool(actor.roles) and bool(set(await named(tx, place)) & set(actor.roles))


async def named(tx: Tx, place: Place) -> tuple[str, ...]:
    """Return the ids of the admin roles of this place."""
    place_id = await people.find_place(tx, place)
    roles = None if place_id is None else await people.get_option(tx, place_id, ADMIN_ROLES)
    return tuple(str(role) for role in roles) if isinstance(roles, list) else ()


def check_appoints(actor: Actor) -> None:
    """Raise NotAllowed unless somebody may appoint admin roles, which members of such a role may not."""
    if not (actor.is_admin or actor.is_owner):
        raise NotAllowed("refusal.rights.appoint")


async def check(tx: Tx, actor: Actor, place: Place, permission: Permission, job: Job | None = None) -> None:
    """Raise NotAllowed, which says what is needed, unless somebody may use a command.

    Args:
        tx: A transaction.
        actor: Who.
        place: Where.
        permission: What the command needs.
        job: The job that the command is about, if it is about one.
    """
    if actor.is_owner or permission is Permission.ANYBODY:
        return
    if permission is Permission.OWNER:
        raise NotAllowed("refusal.rights.owner")
    if job is None:
        if not await is_admin(tx, actor, place):
            raise NotAllowed("refusal.rights.no_place" if place.guild is None else "refusal.rights.admin")
        return
    from_here = job.place_id is not None and job.place_id == await people.find_place(tx, place)
    if permission is Permission.AUTHOR:
        if not (await jobs.is_own(tx, actor, job) or (from_here and await is_admin(tx, actor, place))):
            raise NotAllowed("refusal.rights.author")
    elif not (from_here and await is_admin(tx, actor, place)):
        raise NotAllowed("refusal.rights.admin")
