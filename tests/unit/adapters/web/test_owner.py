"""The owner's pages: their endpoints, with right and with wrong input."""

from __future__ import annotations

import pytest
from aiohttp import web

from adapters.web.owner import OwnerHandlers, plain
from adapters.web.request_checks import BodyReader
from adapters.web.routes import ROUTES, Role
from bot.core.errors import NotAllowed
from bot.core.people import Actor
from tests.unit.adapters.web.harness import Json, WebHarness, error_of

QUEUE, PEOPLE, QUOTAS = "/api/owner/queue", "/api/owner/people", "/api/owner/quotas"


async def got(app: WebHarness, path: str) -> Json:
    status, answer = await app.get(path)
    assert status == 200, answer
    return answer


async def done(app: WebHarness, path: str, body: object) -> Json:
    status, answer = await app.post(path, body)
    assert status == 200, answer
    return answer


def test_every_route_is_the_owners(app: WebHarness) -> None:
    roles = app.server.app[ROUTES].roles()
    mine = {path: role for (_, path), role in roles.items() if path == "/owner" or path.startswith("/api/owner")}
    assert len(mine) >= len(OwnerHandlers(app.studio, BodyReader()).routes())
    assert set(mine.values()) == {Role.OWNER}


async def test_the_page_and_its_texts(app: WebHarness) -> None:
    async with app.client.get("/owner") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    info = await got(app, "/api/owner/info")
    assert info["lang"] == "en"
    assert all(key.startswith("owner.") for key in info["texts"])
    assert (await got(app, "/api/owner/info?lang=zh"))["lang"] == "zh-CN"


async def test_the_queue_is_listed_moved_and_cancelled(held: WebHarness) -> None:
    first, second, third = [(await held.ask(f"a red apple {n}"))["job_id"] for n in range(3)]
    await held.until(lambda: held.dispatch.load().drawing == 1)
    queue = await got(held, QUEUE)
    assert queue["state"] == "run"
    assert [line["job"]["id"] for line in queue["drawing"]] == [first]
    assert [line["job"]["id"] for line in queue["waiting"]] == [second, third]
    assert queue["waiting"][0]["job"]["prompt"] == "a red apple 1"
    assert (queue["waiting"][0]["position"], queue["waits"], queue["held"]) == (1, 2, 0)

    await done(held, f"{QUEUE}/move", {"job": third, "to": "front"})
    queue = await got(held, QUEUE)
    assert [(line["job"]["id"], line["job"]["moved"]) for line in queue["waiting"]] == [(third, "front"), (second, "")]
    await done(held, f"{QUEUE}/move", {"job": third, "to": "back"})
    assert [line["job"]["id"] for line in (await got(held, QUEUE))["waiting"]] == [second, third]

    assert await done(held, f"{QUEUE}/cancel", {"jobs": [second, 999, second]}) == {"cancelled": 1}
    queue = await got(held, QUEUE)
    assert [line["job"]["id"] for line in queue["waiting"]] == [third]
    assert await held.number("SELECT coalesce(sum(reserved), 0) FROM ledger") == 2, "the cancelled one was refunded"
    status, answer = await held.post(f"{QUEUE}/move", {"job": first, "to": "front"})
    assert (status, error_of(answer)[0]) == (404, "refusal.queue.not_waiting")
    actions = [change["action"] for change in (await got(held, "/api/owner/audit"))["changes"]]
    assert actions == ["queue cancel", "queue move", "queue move"]


async def test_a_private_prompt_is_shown_to_nobody_else(held: WebHarness) -> None:
    card = await held.ask("a secret apple --private")
    await held.until(lambda: held.dispatch.load().drawing == 1)
    (line,) = (await got(held, QUEUE))["drawing"]
    assert line["job"]["id"] == card["job_id"]
    assert line["job"]["private"]
    assert line["job"]["prompt"] == ""


async def test_a_pause_is_told_and_ends(held: WebHarness) -> None:
    await held.ask("a red apple")
    await held.until(lambda: held.dispatch.load().drawing == 1)
    waiting = (await held.ask("a blue pear"))["job_id"]
    await done(held, f"{QUEUE}/state", {"state": "pause"})
    assert (await got(held, QUEUE))["state"] == "pause"
    assert held.registry.get_sample_value("easel_queue_paused") == 1
    _, answer = await held.get(f"/api/jobs/{waiting}")
    assert "paused" in answer["card"]["status"]
    held.gate.open()
    await held.until(lambda: held.dispatch.load().drawing == 0)
    assert held.dispatch.load().waiting == 1, "nothing new is begun"
    await done(held, f"{QUEUE}/state", {"state": "run"})
    assert held.registry.get_sample_value("easel_queue_paused") == 0
    await held.final(waiting)
    await done(held, f"{QUEUE}/state", {"state": "drain"})
    status, answer = await held.post("/api/draw", {"key": held.key(), "prompt": "a pear"})
    assert (status, error_of(answer)[0]) == (503, "refusal.paused.drain")


async def test_people_are_found_banned_and_given_credits(app: WebHarness) -> None:
    await app.drawn()
    (me,) = (await got(app, f"{PEOPLE}?q=local"))["people"]
    assert (me["platform"], me["user_id"], me["day"], me["month"], me["banned"]) == ("web", "local", 1, 1, False)
    assert (await got(app, f"{PEOPLE}?q=%25"))["people"] == [], "a percent sign is no wildcard"
    view = await got(app, f"{PEOPLE}/{me['id']}")
    assert view["totals"]["pictures"] == 1

    async with app.db.write() as tx:
        await tx.execute_fetchall("INSERT INTO people (id, name, created_at) VALUES (70, 'Ann', 1)")
        await tx.execute_fetchall(
            "INSERT INTO accounts (person_id, platform, user_id, name, handle, created_at)"
            " VALUES (70, 'telegram', '42', 'Ann', 'ann_1', 1)"
        )
    ann = {"platform": "telegram", "user_id": "42"}
    assert [one["id"] for one in (await got(app, f"{PEOPLE}?q=@ann_1"))["people"]] == [70]
    await done(app, f"{PEOPLE}/ban", {**ann, "span": "2 days", "reason": "spam"})
    view = await got(app, f"{PEOPLE}/70")
    assert [(ban["place"], ban["reason"]) for ban in view["bans"]] == [("", "spam")]
    assert [one["id"] for one in (await got(app, f"{PEOPLE}?q=&banned=1"))["people"]] == [70]
    await done(app, f"{PEOPLE}/unban", ann)
    assert (await got(app, f"{PEOPLE}/70"))["bans"] == []

    key = app.key()
    given = await done(app, f"{PEOPLE}/credits", {**ann, "key": key, "number": "7"})
    assert given["pictures"] == 7
    await done(app, f"{PEOPLE}/credits", {**ann, "key": key, "number": "7"})
    why = await got(app, f"{QUOTAS}/why?platform=telegram&user_id=42")
    assert why["credits"] == 7, "the same key gives them once"
    assert why["left"] == 57


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{QUEUE}/cancel", {"jobs": []}),
        (f"{QUEUE}/cancel", {"jobs": ["1"]}),
        (f"{QUEUE}/cancel", {"jobs": [0]}),
        (f"{QUEUE}/move", {"job": 1, "to": "middle"}),
        (f"{QUEUE}/state", {"state": "off"}),
        (f"{PEOPLE}/ban", {"platform": "telegram"}),
        (f"{PEOPLE}/ban", {"platform": "telegram", "user_id": "1", "span": "a while"}),
        (f"{PEOPLE}/credits", {"platform": "web", "user_id": "local", "key": "12345678", "number": "many"}),
        (f"{QUOTAS}/set", {"rule": "lots"}),
        (f"{QUOTAS}/set", {"rule": "5/day models nothing"}),
        (f"{QUOTAS}/set", {"rule": "5/day", "place": "1"}),
        (f"{QUOTAS}/set", {"rule": "5/day", "who": "all"}),
        ("/api/owner/newcomers/answer", {"number": 1, "answer": "maybe"}),
        ("/api/owner/reports/strictness", {"level": "all"}),
        ("/api/owner/audit/undo", {"number": -1}),
    ],
)
async def test_bad_input_is_refused_with_a_sentence(app: WebHarness, path: str, body: Json) -> None:
    status, answer = await app.post(path, body)
    assert status == 400, answer
    error_of(answer)


@pytest.mark.parametrize(
    "path",
    [f"{PEOPLE}/9", f"{PEOPLE}/x", f"{PEOPLE}/{2**70}", "/api/owner/reports/1/0.png", "/api/owner/audit?before=x"],
)
async def test_what_is_not_there_is_not_found(app: WebHarness, path: str) -> None:
    status, answer = await app.get(path)
    assert status == 404
    error_of(answer)


async def test_rules_are_set_explained_removed_and_undone(app: WebHarness) -> None:
    rule = {"rule": "5/day at-once 2", "platform": "telegram", "person": "42"}
    await done(app, f"{QUOTAS}/set", rule)
    view = await got(app, QUOTAS)
    (line,) = view["rules"]
    assert line["scope"] == {"platform": "telegram", "place": None, "role": None, "person": "42", "channel": None}
    assert line["typed"] == "5/day at-once 2"
    assert "5 pictures" in line["words"]
    assert "50 pictures" in view["usual"]
    why = await got(app, f"{QUOTAS}/why?platform=telegram&user_id=42")
    assert (why["left"], why["at_once"]) == (5, 2)
    assert why["limits"][0] == {
        "words": "5 pictures per day",
        "by_owner": True,
        "used": "0",
        "left": "5",
        "share": 0.0,
        "returns_at": None,
    }
    assert any("5 pictures" in reason for reason in why["reasons"])
    scope = {key: value for key, value in rule.items() if key != "rule"}
    await done(app, f"{QUOTAS}/remove", scope)
    assert (await got(app, QUOTAS))["rules"] == []
    status, answer = await app.post(f"{QUOTAS}/remove", scope)
    assert (status, error_of(answer)[0]) == (404, "refusal.quota.no_rule")

    audit = await got(app, "/api/owner/audit")
    removed, added = audit["changes"]
    assert (removed["action"], added["action"], audit["older"]) == ("quota reset", "quota set", False)
    await done(app, "/api/owner/audit/undo", {"number": removed["number"]})
    assert len((await got(app, QUOTAS))["rules"]) == 1
    status, answer = await app.post("/api/owner/audit/undo", {"number": removed["number"]})
    assert (status, error_of(answer)[0]) == (400, "refusal.change.undone")
    assert await got(app, f"/api/owner/audit?before={removed['number']}") == {"changes": [added], "older": False}


async def test_a_question_without_a_person_is_refused(app: WebHarness) -> None:
    status, answer = await app.get(f"{QUOTAS}/why?platform=web")
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")


async def test_nobody_else_gets_anything_of_the_console(app: WebHarness) -> None:
    member = Actor("discord", "7", is_admin=True)
    owner = app.studio.owner
    for call in (owner.queue(member), owner.cancel(member, [1]), owner.people(member, "")):
        with pytest.raises(NotAllowed):
            await call


def test_what_has_no_form_in_json_is_a_fault() -> None:
    with pytest.raises(TypeError, match="object"):
        plain(object())
    assert isinstance(web.json_response(plain({"a": (1, None)})), web.Response)


async def test_the_overview_and_the_machine(app: WebHarness) -> None:
    await app.drawn()
    overview = await got(app, "/api/owner/overview")
    assert (overview["state"], overview["waiting"], overview["newcomers"], overview["reports"]) == ("run", 0, 0, 0)
    assert overview["engine"]["phase"] == "warm"
    assert overview["problems"] == []
    device = await got(app, "/api/owner/device")
    (speed,) = device["speeds"]
    assert [(slot["id"], slot["state"]["phase"]) for slot in device["slots"]] == [("0", "warm")]
    assert (speed["model"], speed["pictures"]) == ("demo", 1)
    (slot,) = device["slots"]
    assert (slot["id"], slot["state"]["phase"], slot["speed"], slot["jobs"]) == ("0", "warm", 1.0, [])
    disk = await got(app, "/api/owner/disk")
    assert disk["pictures"]["count"] == 1
    assert disk["database"] > 0
    assert disk["total"] >= disk["free"] > 0
    assert disk["days"] is None
    await done(app, "/api/owner/disk/keep", {"span": "90 days"})
    assert (await got(app, "/api/owner/disk"))["days"] == 90
    status, answer = await app.post("/api/owner/disk/keep", {"span": "1 hour"})
    assert (status, error_of(answer)[0]) == (400, "refusal.keep.short")
    assert (await got(app, "/api/owner/settings")) == {"settings": []}


async def test_charts_have_the_last_day_in_quarters_of_an_hour(app: WebHarness) -> None:
    await app.drawn(count="2")
    await app.dispatch._activity.flush()
    await app.dispatch._activity.flush()
    charts = await got(app, "/api/owner/charts")
    assert (charts["slot"], len(charts["rows"])) == (900, 96)
    assert sum(row["pictures"] for row in charts["rows"]) == 2
    assert [row["at"] for row in charts["rows"]] == sorted(row["at"] for row in charts["rows"])


async def test_the_strictness_is_set_and_undone(app: WebHarness) -> None:
    assert await got(app, "/api/owner/reports") == {"reports": [], "strictness": None}
    for level, found in (("warn", "warn"), ("warn", "warn"), ("", None)):
        await done(app, "/api/owner/reports/strictness", {"level": level})
        assert (await got(app, "/api/owner/reports"))["strictness"] == found
    last, first = (await got(app, "/api/owner/audit"))["changes"]
    assert (last["action"], first["after"]) == ("owner words", "warn")
    await done(app, "/api/owner/audit/undo", {"number": last["number"]})
    assert (await got(app, "/api/owner/reports"))["strictness"] == "warn"


async def test_models_are_listed_and_without_a_library_not_downloaded(app: WebHarness) -> None:
    models = await got(app, "/api/owner/models")
    assert [one["name"] for one in models["served"]] == ["demo"]
    assert models["served"][0]["who"] == ["everyone"]
    for what in ("pull", "remove"):
        name = "z-image" if what == "remove" else "demo"
        status, answer = await app.post(f"/api/owner/models/{what}", {"name": name})
        assert (status, error_of(answer)[0]) == (503, "unavailable.models")
    status, answer = await app.post("/api/owner/models/remove", {"name": "demo"})
    assert (status, error_of(answer)[0]) == (403, "refusal.models.served")
    assert await done(app, "/api/owner/models/stop", {}) == {}
