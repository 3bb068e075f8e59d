"""Slash commands, typed by people at the stand-in."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest

from adapters.discord.service import DiscordService
from bot.commands.model import SUGGESTED, ArgType
from bot.core.cards import Card, Tone
from bot.core.errors import BadInput, NotAllowed
from bot.drawing.suggestions import Suggestion
from bot.features import COMMANDS
from bot.studio import ShownJob
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_rest import DEFER, RESPOND
from tests.unit.adapters.discord.scripted import Scripted, waiting

pytestmark = pytest.mark.usefixtures("service")


async def test_draw_is_answered_by_the_card_and_bound_to_its_message(fake: FakeDiscord, scripted: Scripted) -> None:
    ada = fake.person("Ada")
    asked = await ada.draw("an apple", size="3:4", count=2, seed="9223372036854775807", negative="frames")
    card = await asked.answer()

    assert asked.interaction.response == RESPOND
    assert "an apple" in card.text
    assert card.buttons == {"easel:cancel:7": "Cancel"}
    assert card.only_for is None
    actor, place, form, ref = scripted.drawn[0]
    assert (actor.platform, actor.user_id, actor.name, actor.locale) == ("discord", str(ada.user.id), "Ada", "en")
    assert (place.guild, place.channel, place.name) == (str(fake.world.guild_id), str(fake.channel.id), "The Studio")
    assert (form.prompt, form.size, form.count) == ("an apple", "3:4", "2")
    assert (form.seed, form.negative, form.private) == ("9223372036854775807", "frames", None)
    assert ref.event == f"discord:interaction:{asked.interaction.id}"
    assert ref.answered
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    job_id, address = scripted.bindings[0]
    assert (job_id, address.message, address.token) == (7, str(card.id), asked.interaction.token)
    assert address.expires == pytest.approx(asked.interaction.created_at + 900, abs=1)
    assert not address.private


async def test_private_cards_are_for_their_asker_alone(fake: FakeDiscord, scripted: Scripted) -> None:
    ada, bob = fake.person("Ada"), fake.person("Bob")
    card = await (await ada.draw("an apple", private=True)).answer()

    assert card in ada.sees()
    assert card not in bob.sees()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    assert scripted.bindings[0][1].private


async def test_a_private_flag_in_the_prompt_makes_the_answer_private(fake: FakeDiscord, scripted: Scripted) -> None:
    scripted.shown = ShownJob(8, waiting(8, private=True))
    card = await (await fake.person("Ada").draw("an apple --private")).answer()

    assert card.only_for is not None
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    assert scripted.bindings[0][1].private


@pytest.mark.parametrize(
    ("locale", "words"), [("en-US", "no prompt"), ("zh-CN", "提示词"), ("zh-TW", "提示词"), ("de", "no prompt")]
)
async def test_refusals_are_private_sentences_in_the_persons_language(
    fake: FakeDiscord, scripted: Scripted, locale: str, words: str
) -> None:
    scripted.refusal = BadInput("refusal.prompt.empty")
    ada, bob = fake.person("Ada", locale=locale), fake.person("Bob")
    answer = await (await ada.draw(" ")).answer()

    assert words in answer.text
    assert answer not in bob.sees()
    assert scripted.bindings == []
    assert scripted.unbindings == []


async def test_a_fault_is_one_sentence_and_no_more(
    fake: FakeDiscord, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.fault = ZeroDivisionError("inner words")
    answer = await (await fake.person("Ada").draw("an apple")).answer()

    assert "Something went wrong" in answer.text
    assert "inner words" not in answer.text
    assert answer.only_for is not None
    assert "inner words" in caplog.text


async def test_slow_admission_is_deferred_and_delivery_answers_in_the_same_message(
    fake: FakeDiscord, scripted: Scripted
) -> None:
    scripted.delay = asyncio.Event()
    asked = await fake.person("Ada").draw("an apple")
    await asked.acknowledged()
    assert asked.interaction.response == DEFER
    assert asked.interaction.original is not None
    assert asked.interaction.original.loading

    scripted.delay.set()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    assert scripted.bindings[0][1].message == str(asked.interaction.original.id)
    # Delivery edits what is bound; an edit of the adapter would be a second one.
    assert not [name for name in fake.rest.asked if name.startswith("PATCH")]


async def test_a_slow_refusal_is_still_private(fake: FakeDiscord, scripted: Scripted) -> None:
    scripted.delay, scripted.refusal = asyncio.Event(), BadInput("refusal.prompt.empty")
    ada, bob = fake.person("Ada"), fake.person("Bob")
    asked = await ada.draw(" ")
    await asked.acknowledged()
    scripted.delay.set()
    answer = await asked.answer()

    assert "no prompt" in answer.text
    assert bob.sees() == []


async def test_a_slow_private_flag_leaves_nothing_public(fake: FakeDiscord, scripted: Scripted) -> None:
    scripted.delay, scripted.shown = asyncio.Event(), ShownJob(8, waiting(8, private=True))
    ada, bob = fake.person("Ada"), fake.person("Bob")
    asked = await ada.draw("an apple --private")
    await asked.acknowledged()
    scripted.delay.set()
    card = await asked.answer()

    assert card.only_for is ada.user
    assert bob.sees() == []
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    assert scripted.bindings[0][1].message == str(card.id)
    assert scripted.bindings[0][1].private


async def test_an_answer_that_discord_refuses_is_left_to_delivery(fake: FakeDiscord, scripted: Scripted) -> None:
    scripted.delay = asyncio.Event()
    asked = await fake.person("Ada").draw("an apple")
    # It comes too late in Discord's eyes: the interaction is forgotten before the first answer.
    del fake.world.interactions[asked.interaction.token]
    scripted.delay.set()
    await fake.world.until(lambda: bool(scripted.unbindings), "delivery is told")
    assert scripted.unbindings == [7]
    assert scripted.bindings == []


@pytest.mark.parametrize("how", [0, 500])
async def test_an_answer_whose_reply_is_lost_is_found_again(fake: FakeDiscord, scripted: Scripted, how: int) -> None:
    spoils = [how]
    fake.rest.spoil = lambda name: spoils.pop() if "/callback" in name and spoils else None
    asked = await fake.person("Ada").draw("an apple")
    await fake.world.until(lambda: bool(scripted.bindings or scripted.unbindings), "an end")
    assert asked.interaction.original is not None
    assert [a.message for _, a in scripted.bindings] == [str(asked.interaction.original.id)]
    assert scripted.unbindings == []


async def test_the_same_interaction_twice_is_answered_once(fake: FakeDiscord, scripted: Scripted) -> None:
    asked = await fake.person("Ada").draw("an apple")
    card = await asked.answer()
    options = [{"name": "prompt", "type": 3, "value": "an apple"}]
    data = {"id": "1", "name": "draw", "type": 1, "options": options}
    again = fake.world.interaction_payload(asked.interaction, data)
    await fake.gateway.dispatch("INTERACTION_CREATE", again)
    await fake.world.until(lambda: sum("/callback" in a for a in fake.rest.asked) == 2, "a second try")
    await (await fake.person("Bob").run("help")).answer()
    assert len(scripted.drawn) == 2
    assert {a.message for _, a in scripted.bindings} == {str(card.id)}
    assert scripted.unbindings == []


async def test_a_thread_is_a_channel_with_its_parents_age_limit(fake: FakeDiscord, scripted: Scripted) -> None:
    fake.channel.nsfw = True
    await fake.gateway.dispatch("CHANNEL_UPDATE", fake.channel.payload())
    thread = fake.thread("still lifes")
    await (await fake.person("Ada").draw("an apple", channel=thread)).answer()
    _, place, _, ref = scripted.drawn[0]
    assert place.channel == str(thread.id)
    assert place.age_restricted
    assert ref.address is not None
    assert ref.address.chat == place.channel


async def test_it_works_in_direct_messages_and_where_the_bot_is_not(fake: FakeDiscord, scripted: Scripted) -> None:
    ada = fake.person("Ada")
    direct, elsewhere = fake.world.direct(ada.user), fake.elsewhere(ada.user)
    for channel in (direct, elsewhere):
        card = await (await ada.draw("an apple", channel=channel)).answer()
        assert "an apple" in card.text
    places = [place for _, place, _, _ in scripted.drawn]
    assert [p.guild for p in places] == [None, None]
    assert [p.channel for p in places] == [str(direct.id), str(elsewhere.id)]
    assert not any(actor.is_admin for actor, _, _, _ in scripted.drawn)


async def test_what_the_core_suggests_is_offered_while_somebody_types(fake: FakeDiscord, scripted: Scripted) -> None:
    ada = fake.person("Ada")
    scripted.suggestions = (Suggestion("wide", "wide · 128×64"),)
    assert await ada.suggest("draw", "size", "wi") == [{"name": "wide · 128×64", "value": "wide"}]
    scripted.suggestions = (Suggestion("12", "#12 · a cat"),)
    assert await ada.suggest("again", "number", "ca") == [{"name": "#12 · a cat", "value": 12}]
    for command in COMMANDS.typed:
        if " " not in command.name:
            for arg in command.args:
                if arg.type in SUGGESTED and arg.type is not ArgType.JOB:
                    await ada.suggest(command.name, arg.name, "x")
    assert {name for name, _, _ in scripted.suggested} >= {"prompt", "size", "model", "style", "lora", "number"}


async def test_all_options_of_draw_reach_the_core(fake: FakeDiscord, scripted: Scripted) -> None:
    options: dict[str, Any] = {"model": "tiny", "style": "ink", "lora": "pixel:0.8", "steps": 4, "private": False}
    await (await fake.person("Ada").draw("an apple", **options, guidance=1.5, strength=0.5)).answer()
    _, _, form, _ = scripted.drawn[0]
    assert (form.model, form.style, form.lora, form.steps) == ("tiny", "ink", "pixel:0.8", "4")
    assert (form.guidance, form.strength, form.private) == ("1.5", "0.5", False)


async def test_notices_are_private(fake: FakeDiscord) -> None:
    ada, bob = fake.person("Ada"), fake.person("Bob")
    for command, words in (("history", "last drawings"), ("quota show", "quota show"), ("help", "/history")):
        answer = await (await ada.run(command)).answer()
        assert words in answer.text.replace("\\", "")
    assert bob.sees() == []


@pytest.mark.parametrize("manages", [True, False])
async def test_a_command_says_who_asks_where_and_what_was_picked(
    fake: FakeDiscord, scripted: Scripted, *, manages: bool
) -> None:
    bob, role = fake.person("Bob"), str(fake.world.guild_id + 1)
    boss = fake.person("Boss", manages=manages)
    asked = await boss.run("quota set", rule="20/day", role=role, person=str(bob.user.id), into=fake.channel)
    answer = await asked.answer()
    (call,) = scripted.calls
    assert (call.command.name, call.actor.is_admin, call.place.guild) == (
        "quota set",
        manages,
        str(fake.world.guild_id),
    )
    assert call.args == {
        "rule": "20/day",
        "role": role,
        "person": str(bob.user.id),
        "channel": str(fake.channel.id),
    }
    assert call.names == {"role": "Painters", "person": "Bob", "channel": "drawings"}
    # What was set is for everybody to see.
    assert answer in bob.sees()


async def test_numbers_and_choices_are_handed_over_as_they_are_typed(fake: FakeDiscord, scripted: Scripted) -> None:
    boss = fake.person("Boss", manages=True)
    await (await boss.run("easel undo", number=12)).answer()
    await (await boss.run("easel preset", preset="club")).answer()
    await (await boss.run("easel log")).answer()
    assert [call.args for call in scripted.calls] == [{"number": "12"}, {"preset": "club"}, {}]


async def test_a_refusal_is_private_though_a_changed_setting_is_public(fake: FakeDiscord, scripted: Scripted) -> None:
    scripted.refusal = NotAllowed("refusal.rights.admin")
    ada, bob = fake.person("Ada"), fake.person("Bob")
    answer = await (await ada.run("easel pause")).answer()
    assert "admins of this place" in answer.text
    assert answer.only_for is ada.user
    assert bob.sees() == []


async def test_a_command_that_draws_is_answered_by_the_jobs_card(fake: FakeDiscord, scripted: Scripted) -> None:
    scripted.card = waiting(9)
    card = await (await fake.person("Ada").run("again", number=3)).answer()
    assert card.buttons == {"easel:cancel:9": "Cancel"}
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    assert scripted.bindings[0][0] == 9


async def test_nobody_has_rights_in_a_server_where_they_use_an_installation_of_their_own(
    fake: FakeDiscord, scripted: Scripted
) -> None:
    boss = fake.person("Boss", manages=True, roles=(fake.world.guild_id + 1,))
    await (await boss.run("quota show", channel=fake.foreign())).answer()
    await (await boss.run("quota show", channel=fake.world.direct(boss.user))).answer()
    await (await boss.run("easel limits")).answer()
    seen = [(call.actor.is_admin, len(call.actor.roles), call.place.guild) for call in scripted.calls]
    assert seen == [(False, 0, None), (False, 0, None), (True, 1, str(fake.world.guild_id))]


async def test_a_command_of_an_older_version_is_answered(fake: FakeDiscord) -> None:
    fake.world.commands.append({"name": "paint", "id": "5", "options": [], "contexts": [0]})
    answer = await (await fake.person("Ada").run("paint")).answer()
    assert "has changed" in answer.text
    assert answer.only_for is not None


async def test_commands_are_offered_in_both_languages_and_every_context(fake: FakeDiscord) -> None:
    offered = {c["name"]: c for c in fake.world.commands if c["type"] == 1}
    menus = {c["name"]: c["type"] for c in fake.world.commands if c["type"] != 1}
    assert menus == {"Quota": 2, "Picture info": 3, "Draw again": 3, "Report": 3, "Use as start": 3, "Edit this": 3}
    assert set(offered) == {"history", "help", *(command.name.split()[0] for command in COMMANDS.typed)}
    draw = offered["draw"]
    assert draw["description_localizations"]["zh-CN"] == "用文字画一张图"
    assert draw["name_localizations"]["zh-CN"] == "画图"
    assert set(draw["contexts"]) == {0, 1, 2}
    # Only those who manage the server see what admins set, and nobody sees it in direct messages.
    for name, contexts in (("easel", {0}), ("owner", {0, 1, 2})):
        assert int(offered[name]["default_member_permissions"]) == discord.Permissions(manage_guild=True).value
        assert set(offered[name]["contexts"]) == contexts
    assert all(c["default_member_permissions"] is None for n, c in offered.items() if n not in {"easel", "owner"})
    assert set(draw["integration_types"]) == {0, 1}
    options = {o["name"]: o for o in draw["options"]}
    assert options["prompt"]["name_localizations"]["zh-CN"] == "提示词"
    assert (options["count"]["min_value"], options["count"]["max_value"]) == (1, 4)
    assert options["seed"]["type"] == 3
    ban = next(o for o in offered["easel"]["options"] if o["name"] == "ban")
    assert ban["description_localizations"]["zh-CN"] == "禁止某人在此画图（需要“管理服务器”权限）"
    assert [(o["name"], o["type"], o.get("required", False)) for o in ban["options"]] == [
        ("person", 6, True),
        ("span", 3, False),
        ("reason", 3, False),
    ]
    preset = next(o for o in offered["easel"]["options"] if o["name"] == "preset")["options"][0]
    assert preset["name_localizations"]["zh-CN"] == "预设"
    assert [choice["value"] for choice in preset["choices"]] == ["open", "club", "strict", "paused"]
    assert preset["choices"][0]["name_localizations"]["zh-CN"].startswith("开放")


async def test_people_and_prompts_ping_nobody(fake: FakeDiscord, service: DiscordService) -> None:
    bob = fake.person("Bob")
    card = await (await fake.person("Ada").draw(f"@everyone <@{bob.user.id}> **bold** [a](http://b.c)")).answer()
    assert card.pings == set()
    assert "<@" not in card.text
    assert "**bold**" not in card.text


async def test_a_message_and_a_person_have_menus_of_the_registry(fake: FakeDiscord, scripted: Scripted) -> None:
    ada, bob = fake.person("Ada"), fake.person("Bob")
    card = await (await ada.draw("an apple")).answer()
    await (await bob.pick("Report", card)).answer()
    _, _, press, _ = scripted.presses[-1]
    assert (press.action, press.job_id, press.index) == ("report", 7, 0)
    await (await bob.pick("Draw again", card)).answer()
    assert (scripted.calls[-1].command.name, scripted.calls[-1].args) == ("again", {"number": "7"})
    await (await bob.pick("Quota", ada)).answer()
    assert (scripted.calls[-1].command.name, scripted.calls[-1].args) == ("quota show", {"person": str(ada.user.id)})
    await (await ada.pick("Quota", ada)).answer()
    assert scripted.calls[-1].args == {}


async def test_a_message_without_a_job_has_nothing_to_pick(fake: FakeDiscord, scripted: Scripted) -> None:
    ada = fake.person("Ada")
    scripted.card = Card(Tone.INFO, "Here.", private=True)
    answer = await (await ada.pick("Draw again", await (await ada.run("loras")).answer())).answer()
    assert "no picture of Easel" in answer.text
    assert [call.command.name for call in scripted.calls] == ["loras"]
