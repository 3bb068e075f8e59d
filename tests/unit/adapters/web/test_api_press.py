"""Buttons of a card on the page."""

from __future__ import annotations

import asyncio

import pytest

from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.features import COMMANDS
from tests.unit.adapters.web.harness import WebHarness, error_of


async def test_reroll_draws_the_same_with_another_seed(app: WebHarness) -> None:
    first = await app.drawn("a red apple", seed="7", count="3", size="256x144")
    status, answer = await app.press(f"easel:reroll:{first['job_id']}")
    assert status == 200
    assert set(answer) == {"new", "card", "menu", "notice"}
    assert (answer["card"], answer["notice"]) == (None, "")
    new = await app.final(answer["new"]["job_id"])
    assert new["job_id"] != first["job_id"]
    assert new["prompt"] == "a red apple"
    assert [(p["width"], p["height"]) for p in new["pictures"]] == [(256, 144)] * 3
    assert new["pictures"][0]["seed"] != "7"


async def test_a_seed_button_draws_from_that_seed_upward(app: WebHarness) -> None:
    first = await app.drawn(seed=str(2**63 - 2), count="2")
    buttons = [button["id"] for row in first["buttons"] for button in row if button["action"] == "seed"]
    assert buttons == [f"easel:seed:{first['job_id']}:0", f"easel:seed:{first['job_id']}:1"]
    _, answer = await app.press(buttons[1])
    new = await app.final(answer["new"]["job_id"])
    assert [p["seed"] for p in new["pictures"]] == [str(2**63 - 1), "0"]


async def test_every_button_that_is_shown_works(app: WebHarness) -> None:
    card = await app.drawn(count="16")
    buttons = [button["id"] for row in card["buttons"] for button in row]
    # Of the job: reroll, ⋯, edit, prompt, original, info, favourite, delete; of each picture: vary, upscale, seed, start.
    assert len(buttons) == len(set(buttons)) == 8 + 4 * 16
    shown = {button["action"]: button["id"] for row in card["buttons"] for button in row}
    for action in ("more", "edit", "start", "original", "info", "delete"):
        status, answer = await app.press(shown[action])
        assert status == 200, answer
        assert answer["new"] is None
    for button in buttons:
        if button.split(":")[1] in {"more", "edit", "start", "original", "info", "delete"}:
            continue
        status, answer = await app.press(button)
        assert status == 200, answer
        if ":favourite:" in button:
            assert answer["notice"] == app.studio.text("studio.favourite.kept", "en")
        elif ":prompt:" in button:
            assert "--count 16" in answer["card"]["prompt"]
        else:
            assert answer["new"]["job_id"] > card["job_id"]


async def test_the_same_press_twice_is_one_job(app: WebHarness) -> None:
    job = (await app.drawn())["job_id"]
    body = {"id": f"easel:reroll:{job}", "key": app.key()}
    answers = await asyncio.gather(*(app.post("/api/press", body) for _ in range(4)))
    assert len({answer["new"]["job_id"] for _, answer in answers}) == 1
    await app.final(answers[0][1]["new"]["job_id"])
    assert await app.count("jobs") == await app.charged() == 2


async def test_cancel_stops_a_job_and_costs_nothing(held: WebHarness) -> None:
    job = (await held.ask(count="4"))["job_id"]
    await held.until(lambda: held.gate.reached)
    status, answer = await held.press(f"easel:cancel:{job}")
    assert status == 200
    assert answer["new"] is None
    assert answer["notice"] == ""
    assert answer["card"]["tone"] == "stopped"
    assert answer["card"]["final"]
    held.gate.open()
    assert (await held.get(f"/api/jobs/{job}"))[1]["card"] == answer["card"]
    assert await held.charged() == 0
    assert await held.count("pictures") == 0


@pytest.mark.parametrize(("lang", "said"), [("en", "already ended"), ("zh", "已经结束")])
async def test_cancel_of_what_has_ended_says_so(app: WebHarness, lang: str, said: str) -> None:
    status, answer = await app.post("/api/draw", {"key": app.key(), "prompt": "a cat"}, params={"lang": lang})
    assert status == 201
    card = await app.final(answer["card"]["job_id"])
    status, answer = await app.press(f"easel:cancel:{card['job_id']}", params={"lang": lang})
    assert status == 200
    assert said in answer["notice"]
    assert answer["card"] == card
    assert await app.charged() == 1


async def test_the_page_turns_pages_too(app: WebHarness) -> None:
    status, answer = await app.press("easel:page:0")
    assert status == 200
    assert answer["card"]["status"] == app.studio.text("card.history.empty", "en")
    job = (await app.drawn())["job_id"]
    status, answer = await app.press("easel:page:0")
    assert status == 200
    assert answer["new"] is None
    # A contact sheet is no picture of a job, and has no address here.
    assert answer["card"]["pictures"] == []
    status, answer = await app.press(f"easel:page:{job}")
    assert status == 200
    assert (await app.press("easel:page:99"))[0] == 404


NUMBER_OF_SOMETHING_ELSE = {
    *("page", "cancel", "example", "panel", "settings", "usepicture", "editpicture"),
    *("drawtext", "edittext", "stoptext"),
}


@pytest.mark.parametrize("action", [a for a in COMMANDS.by_action if a not in NUMBER_OF_SOMETHING_ELSE])
async def test_a_job_that_is_not_there(app: WebHarness, action: str) -> None:
    status, answer = await app.press(f"easel:{action}:99:0")
    key, _ = error_of(answer)
    assert status == 404
    assert key in {"refusal.job.not_found", "refusal.access.not_found"}
    assert await app.count("jobs") == 0


async def test_a_picture_that_the_job_has_not(app: WebHarness) -> None:
    job = (await app.drawn())["job_id"]
    status, answer = await app.press(f"easel:seed:{job}:1")
    assert (status, error_of(answer)[0]) == (404, "refusal.picture.not_found")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reroll",
        "easel",
        "easel:reroll",
        "easel:reroll:",
        "easel:reroll:x",
        "easel:reroll:-1",
        "easel:reroll:1:2:3",
        "easel:reroll:1 ",
        " easel:reroll:1",
        "easel:reroll:1\n",
        "easel:reroll:１",
        "easel:reroll:" + "9" * 19,
        "easel:reroll:" + "9" * 5000,
        "easel:REROLL:1",
        "easel:nonsense:1",
        "easel:__class__:1",
        "other:reroll:1",
        "easel:seed:1:9999",
        "easel:reroll:1'; DROP TABLE jobs; --",
        "../../etc/passwd",
        "夜空",
    ],
)
async def test_foreign_text_is_no_button(app: WebHarness, text: str) -> None:
    job = (await app.drawn())["job_id"]
    assert job == 1
    status, answer = await app.press(text)
    assert (status, error_of(answer)[0]) == (400, "refusal.web.button")
    status, answer = await app.press(text, params={"lang": "zh"})
    assert error_of(answer)[1] == app.studio.text("refusal.web.button", "zh_CN")
    assert await app.count("jobs") == 1


@pytest.mark.parametrize(
    "body", [{}, {"id": 1}, {"id": None}, {"id": "easel:reroll:1", "job": 1}, {"id": ["easel:reroll:1"]}]
)
async def test_a_press_of_another_form_is_refused(app: WebHarness, body: dict[str, object]) -> None:
    status, answer = await app.post("/api/press", {"key": app.key(), **body})
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")


async def test_a_key_belongs_to_every_press(app: WebHarness) -> None:
    status, answer = await app.post("/api/press", {"id": "easel:reroll:1"})
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")


async def test_what_others_drew_elsewhere_is_not_pressed_here(app: WebHarness) -> None:
    stranger, place = Actor("telegram", "7", name="Eve"), Place("telegram", None, "7")
    shown = await app.studio.draw(stranger, place, DrawForm("a secret"), EventRef("telegram:update:1"))
    for button in ("reroll", "seed", "cancel", "original"):
        status, answer = await app.press(f"easel:{button}:{shown.job_id}")
        assert (status, error_of(answer)[0]) == (404, "refusal.job.not_found")
    for path in ("", "/events"):
        status, answer = await app.get(f"/api/jobs/{shown.job_id}{path}")
        assert (status, error_of(answer)[0]) == (404, "refusal.job.not_found")
    assert (await app.get(f"/pictures/{shown.job_id}/0.png"))[0] == 404
    assert (await app.get("/api/history"))[1]["cards"] == []


async def test_a_job_is_deleted_once_it_was_asked(app: WebHarness) -> None:
    job = (await app.drawn("a red apple", count="2"))["job_id"]
    _, asked = await app.press(f"easel:delete:{job}")
    assert asked["menu"]["status"] == app.studio.text("card.delete.ask", "en", job=job)
    ((button,),) = asked["menu"]["buttons"]
    assert (button["action"], button["danger"]) == ("deletenow", True)
    _, done = await app.press(button["id"])
    assert (done["menu"]["status"], done["menu"]["buttons"]) == (
        app.studio.text("card.delete.done", "en", job=job),
        [],
    )
    assert await app.count("pictures") == 0
    status, again = await app.press(button["id"])
    assert status == 404
    assert error_of(again) == ("refusal.job.forgotten", app.studio.text("refusal.job.forgotten", "en"))
