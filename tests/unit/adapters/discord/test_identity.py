"""Who owns the application, and where a server's admins have a say."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.discord.service import DiscordService, build
from adapters.discord.settings import DiscordSettings
from bot.settings import Settings
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_world import User
from tests.unit.adapters.discord.conftest import running
from tests.unit.adapters.discord.scripted import Scripted


async def test_the_applications_owner_is_an_owner(
    fake: FakeDiscord, scripted: Scripted, service: DiscordService
) -> None:
    assert scripted.application == {str(fake.world.owner.id)}


def member(number: int, role: str, state: int = 2) -> dict[str, Any]:
    return {
        "membership_state": state,
        "permissions": [],
        "team_id": "5",
        "role": role,
        "user": User(number, f"member {number}").payload(),
    }


async def test_a_teams_members_who_may_run_it_are_owners(
    fake: FakeDiscord, scripted: Scripted, settings: DiscordSettings, core: Settings
) -> None:
    members = [member(11, "admin"), member(12, "developer"), member(13, "read_only"), member(14, "admin", state=1)]
    owner = member(10, "read_only")
    fake.world.team = {"id": "5", "name": "Us", "icon": None, "owner_user_id": "10", "members": [owner, *members]}
    async with running(build(settings, core, scripted.studio)):
        await fake.connected()
    # Neither who may only look on, nor who was only invited, nor the team itself, whom Discord names as the owner.
    assert scripted.application == {"10", "11", "12"}


@pytest.mark.parametrize(("foreign", "admin"), [(False, True), (True, False)])
async def test_a_server_without_easel_has_no_admins_of_easel(
    fake: FakeDiscord, scripted: Scripted, service: DiscordService, foreign: bool, admin: bool
) -> None:
    ada = fake.person("Ada", manages=True)
    await (await ada.draw("a cat", channel=fake.foreign() if foreign else None)).answer()
    ((actor, place, _, _),) = scripted.drawn
    assert actor.is_admin is admin
    assert (place.guild is not None) is admin
