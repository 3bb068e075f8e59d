"""Signing in: links from chats, invitations, passwords, passkeys and the owner's token, and what each refuses."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from adapters.web import access
from bot.core.sign_in import PAGE_OWNER
from bot.moderation.store import EVERYWHERE, Ban, put_ban
from tests.fakes.authenticator import PRESENT, Authenticator
from tests.unit.adapters.web.harness import ADA, TOKEN, Json, WebHarness, error_of

PASSWORD = "correct horse battery"
HTML = {"Accept": "text/html"}


class Answer:
    """An answer with its cookie."""

    def __init__(self, status: int, text: str, headers: Any) -> None:
        self.status, self.text, self.headers = status, text, headers
        self.set_cookie = headers.get("Set-Cookie", "")
        self.cookie = {"Cookie": self.set_cookie.partition(";")[0]}


async def ask(app: WebHarness, method: str, path: str, data: Json | None = None, /, **headers: str) -> Answer:
    """Ask as a browser without a cookie jar does."""
    app.client.session.cookie_jar.clear()
    given = {**HTML, "Origin": app.origin, **headers}
    async with app.client.request(method, path, data=data, headers=given, allow_redirects=False) as response:
        answer = Answer(response.status, await response.text(), response.headers)
    app.client.session.cookie_jar.clear()
    return answer


async def invited(app: WebHarness, *, name: str = "", quota: str = "", person: str = "") -> str:
    return "/invite/" + await app.studio.accounts.invitations.create(PAGE_OWNER, name=name, quota=quota, person=person)


async def member(app: WebHarness, login: str = "ada", **how: str) -> Answer:
    """Accept an invitation with a password."""
    form = {"name": "Ada", "login": login, "password": PASSWORD}
    answer = await ask(app, "POST", await invited(app, **how), form)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    return answer


async def who(app: WebHarness, cookie: dict[str, str]) -> Json:
    app.client.session.cookie_jar.clear()
    status, answer = await app.get("/api/account", headers=cookie)
    return answer if status == 200 else {"status": status}


# ---- The page


async def test_who_is_not_signed_in_is_led_to_the_sign_in_page_and_back(club: WebHarness) -> None:
    answer = await ask(club, "GET", "/account?lang=zh")
    assert (answer.status, answer.headers["Location"]) == (303, "/signin?next=/account?lang%3Dzh")
    page = await ask(club, "GET", answer.headers["Location"])
    assert page.status == 200
    assert 'name="next" value="/account?lang=zh"' in page.text
    # Programs get a sentence.
    assert (await ask(club, "GET", "/api/quota", Accept="application/json")).status == 401


@pytest.mark.parametrize(("tag", "word"), [("en", "Sign in to Easel"), ("zh", "登录 Easel")])
async def test_it_speaks_both_languages_and_works_without_scripts(club: WebHarness, tag: str, word: str) -> None:
    page = await ask(club, "GET", "/signin", **{"Accept-Language": tag})
    assert f"<h1>{word}</h1>" in page.text
    assert 'method="post" action="/signin"' in page.text
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert "sign_in." not in page.text.replace("sign_in.js", "")
    assert page.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "following",
    ["https://evil.com", "//evil.com", "/\\evil.com", "javascript:alert(1)", "/a b", "/\x00", "", "x" * 600],
)
async def test_only_its_own_pages_follow_a_sign_in(club: WebHarness, following: str) -> None:
    answer = await ask(club, "POST", "/signin", {"token": TOKEN, "next": following})
    assert answer.headers["Location"] == "/"


async def test_what_somebody_typed_is_text(club: WebHarness) -> None:
    page = await ask(club, "POST", "/signin", {"login": '"><script>alert(1)</script>', "password": "x"})
    assert page.status == 401
    assert "<script>alert" not in page.text
    path = await invited(club, name="<b>Bob</b>")
    assert "<b>Bob" not in (await ask(club, "GET", path)).text


# ---- Links from chats


async def test_a_link_from_a_chat_signs_in_once_by_its_button(club: WebHarness) -> None:
    path = f"/enter/{await club.link_for()}"
    for agent in ("TelegramBot (like TwitterBot)", "Discordbot/2.0", "Mozilla/5.0"):
        page = await ask(club, "GET", path, **{"User-Agent": agent})
        assert page.status == 200
        assert "Ada" in page.text
        assert not page.set_cookie
    answer = await ask(club, "POST", path, **{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0"})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    account = await who(club, answer.cookie)
    assert (account["name"], account["platform"], account["method"], account["role"]) == (
        "Ada",
        "chat",
        "link",
        "member",
    )
    assert account["sessions"][0]["browser"] == "Firefox, Linux"
    again = await ask(club, "POST", path)
    assert again.status == 404
    assert not again.set_cookie
    assert (await ask(club, "GET", path)).status == 404


async def test_another_site_can_t_send_a_link_s_form(club: WebHarness) -> None:
    path = f"/enter/{await club.link_for()}"
    for origin in ("https://evil.com", "null"):
        assert (await ask(club, "POST", path, Origin=origin)).status == 403
    assert (await ask(club, "POST", path)).status == 303


async def test_an_invitation_is_no_link_from_a_chat_nor_the_other_way_round(club: WebHarness) -> None:
    path, link = await invited(club), await club.link_for()
    assert (await ask(club, "POST", path.replace("/invite/", "/enter/"))).status == 404
    form = {"name": "", "login": "eve", "password": PASSWORD}
    assert (await ask(club, "POST", f"/invite/{link}", form)).status == 404
    assert await club.count("passwords") == 0


async def test_no_secret_reaches_the_log(
    club: WebHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    link, key = await club.link_for(), (await club.key_for())["Authorization"]
    await ask(club, "POST", "/signin", {"login": "ada", "password": PASSWORD})
    session = await ask(club, "POST", f"/enter/{link}")
    await ask(club, "GET", "/account", **session.cookie)
    await ask(club, "GET", "/api/quota", Authorization=key)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(club.studio.accounts.sessions, "open_by_link", broken)
    monkeypatch.setattr(club.studio.accounts.sessions, "close", broken)
    for path in (f"/enter/{link}", "/signout"):
        assert (await ask(club, "POST", path, **session.cookie)).status == 500
    assert "/enter/{token}" in caplog.text
    for secret in (link, key.removeprefix("Bearer "), PASSWORD, session.cookie["Cookie"].partition("=")[2], TOKEN):
        assert secret not in caplog.text


# ---- Invitations and passwords


async def test_an_invited_member_has_a_password_a_person_and_a_quota(club: WebHarness) -> None:
    answer = await member(club, quota="7/day")
    account = await who(club, answer.cookie)
    assert (account["name"], account["platform"], account["role"], account["login"]) == ("Ada", "web", "member", "ada")
    _, quota = await club.get("/api/quota", headers=answer.cookie)
    assert "7" in str(quota["card"]["facts"])
    signed = await ask(club, "POST", "/signin", {"login": " ADA ", "password": PASSWORD, "next": "/account"})
    assert (signed.status, signed.headers["Location"]) == (303, "/account")
    assert (await who(club, signed.cookie))["method"] == "password"
    async with club.db.read() as tx:
        stored = str([list(row) for row in await tx.execute_fetchall("SELECT * FROM passwords")])
    assert PASSWORD not in stored
    assert "$argon2id$" in stored


async def test_an_invitation_works_once(club: WebHarness) -> None:
    path = await invited(club)
    form = {"name": "A", "login": "one", "password": PASSWORD}
    assert (await ask(club, "GET", path)).status == 200
    assert (await ask(club, "POST", path, form)).status == 303
    assert (await ask(club, "POST", path, {**form, "login": "two"})).status == 404
    assert await club.count("passwords") == 1


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("a", PASSWORD),
        ("with space", PASSWORD),
        ("ada", "short"),
        ("ada", "aaaaaaaaaaaa"),
        ("long-name-here", "Long-Name-Here"),
    ],
)
async def test_what_can_t_be_used_is_said_and_uses_nothing_up(club: WebHarness, login: str, password: str) -> None:
    path = await invited(club)
    page = await ask(club, "POST", path, {"name": "Ada", "login": login, "password": password})
    assert page.status == 400
    assert 'role="alert"' in page.text
    assert f'value="{login}"' in page.text
    assert password not in page.text.replace(login, "")
    assert (await ask(club, "POST", path, {"name": "", "login": "ada", "password": PASSWORD})).status == 303


async def test_a_taken_name_is_taken(club: WebHarness) -> None:
    await member(club)
    page = await ask(club, "POST", await invited(club), {"name": "", "login": "Ada", "password": PASSWORD})
    assert (page.status, "ada" in page.text) == (400, True)
    assert await club.count("passwords") == 1


async def test_an_owner_can_let_a_member_choose_a_new_password(club: WebHarness) -> None:
    first = await member(club)
    number = await club.number("SELECT account_id FROM passwords")
    async with club.db.read() as tx:
        ((user_id,),) = await tx.execute_fetchall("SELECT user_id FROM accounts WHERE id = ?", (number,))
    path = await invited(club, person=f"web:{user_id}")
    answer = await ask(club, "POST", path, {"login": "ada", "password": "another long password"})
    assert answer.status == 303
    assert await who(club, first.cookie) == {"status": 401}
    assert (await ask(club, "POST", "/signin", {"login": "ada", "password": PASSWORD})).status == 401
    assert await club.count("passwords") == 1


async def test_a_wrong_password_and_an_unknown_name_look_the_same(club: WebHarness) -> None:
    await member(club)
    answers = [await ask(club, "POST", "/signin", {"login": login, "password": "x"}) for login in ("ada", "eve")]
    assert [answer.status for answer in answers] == [401, 401]
    first, second = (answer.text.replace("ada", "").replace("eve", "") for answer in answers)
    assert first == second
    assert not answers[0].set_cookie


async def test_guesses_of_one_name_are_refused_from_everywhere(
    club: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await member(club)
    for number in range(access.FAILURES):
        monkeypatch.setattr("adapters.web.client_address.ClientAddress.bucket", f"client {number}")
        assert (await ask(club, "POST", "/signin", {"login": "ada", "password": "x"})).status == 401
    monkeypatch.setattr("adapters.web.client_address.ClientAddress.bucket", "another client")
    answer = await ask(club, "POST", "/signin", {"login": "Ada", "password": PASSWORD})
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert (await ask(club, "POST", "/signin", {"login": "bob", "password": "x"})).status == 401


@pytest.mark.parametrize("change", [False, True])
async def test_guesses_side_by_side_are_no_more_than_one_after_the_other(
    club: WebHarness, monkeypatch: pytest.MonkeyPatch, change: bool
) -> None:
    cookie = (await member(club)).cookie
    hold, tried = asyncio.Event(), 0

    async def slow(*_: object, **__: object) -> bool:
        nonlocal tried
        tried += 1
        await hold.wait()
        return False

    monkeypatch.setattr(club.studio.accounts.passwords, "_matches", slow)

    async def guess() -> int:
        if change:
            body = {"old": "x", "new": "another long password"}
            return (await club.post("/api/account/password", body, headers={**cookie, "Origin": club.origin}))[0]
        return (await ask(club, "POST", "/signin", {"login": "ada", "password": "x"})).status

    guesses = [asyncio.create_task(guess()) for _ in range(access.FAILURES + 5)]
    await club.until(lambda: sum(one.done() for one in guesses) == 5)
    hold.set()
    codes = sorted(await asyncio.gather(*guesses))
    assert codes == [403 if change else 401] * access.FAILURES + [429] * 5
    assert tried == access.FAILURES


async def test_right_passwords_are_no_failures(club: WebHarness) -> None:
    await member(club)
    for _ in range(access.FAILURES + 1):
        assert (await ask(club, "POST", "/signin", {"login": "ada", "password": PASSWORD})).status == 303


async def test_guessing_links_is_limited(club: WebHarness) -> None:
    codes = [(await ask(club, "GET", f"/enter/{number}")).status for number in range(access.FAILURES + 1)]
    assert codes == [404] * access.FAILURES + [429]
    assert club.refusals("credentials") == access.FAILURES


async def test_a_new_password_ends_the_other_sessions(club: WebHarness) -> None:
    first = await member(club)
    second = await ask(club, "POST", "/signin", {"login": "ada", "password": PASSWORD})
    change = {"old": "wrong", "new": "another long password"}
    headers = {**second.cookie, "Origin": club.origin}
    status, answer = await club.post("/api/account/password", change, headers=headers)
    assert (status, error_of(answer)[0]) == (403, "refusal.password.old")
    change["old"] = PASSWORD
    assert (await club.post("/api/account/password", change, headers=headers))[0] == 200
    assert await who(club, first.cookie) == {"status": 401}
    assert (await who(club, second.cookie))["login"] == "ada"
    assert (await ask(club, "POST", "/signin", {"login": "ada", "password": change["new"]})).status == 303


async def test_who_is_banned_can_t_sign_in(club: WebHarness) -> None:
    await member(club)
    async with club.db.write() as tx:
        ((user_id,),) = await tx.execute_fetchall("SELECT user_id FROM accounts WHERE user_id LIKE 'member-%'")
        await put_ban(tx, Ban("web", user_id, EVERYWHERE, None, "noise", "operator", 0.0))
    answer = await ask(club, "POST", "/signin", {"login": "ada", "password": PASSWORD})
    assert (answer.status, "noise" in answer.text, answer.set_cookie) == (403, True, "")


# ---- Sessions


async def test_the_cookie_is_for_this_host_and_no_script(club: WebHarness) -> None:
    answer = await ask(club, "POST", "/signin", {"token": TOKEN})
    parts = {part.strip() for part in answer.set_cookie.split(";")}
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= parts
    assert "Domain" not in answer.set_cookie
    assert len(answer.set_cookie.partition("=")[2].partition(";")[0]) >= 43
    assert TOKEN not in answer.set_cookie


async def test_signing_in_gives_the_browser_another_session(club: WebHarness) -> None:
    first = await ask(club, "POST", "/signin", {"token": TOKEN})
    second = await ask(club, "POST", "/signin", {"token": TOKEN}, **first.cookie)
    assert second.cookie != first.cookie
    assert await who(club, first.cookie) == {"status": 401}
    assert (await who(club, second.cookie))["role"] == "owner"


async def test_signing_out_ends_the_session_and_removes_the_cookie(club: WebHarness) -> None:
    session = await ask(club, "POST", "/signin", {"token": TOKEN})
    out = await ask(club, "POST", "/signout", **session.cookie)
    assert (out.status, out.headers["Location"]) == (303, "/signin")
    assert re.search(r'easel_\d+="?"?;', out.set_cookie)
    assert "Max-Age=0" in out.set_cookie
    assert await who(club, session.cookie) == {"status": 401}


async def test_a_wrong_token_is_said_on_the_page(club: WebHarness) -> None:
    page = await ask(club, "POST", "/signin", {"token": "wrong"})
    assert page.status == 401
    assert club.studio.text("refusal.web.token.wrong", "en") in page.text


# ---- Passkeys


async def passkey_of(app: WebHarness, path: str, phone: Authenticator, **headers: str) -> tuple[int, Json]:
    """Set a passkey up by the two requests under a path."""
    given = {"Host": f"localhost:{app.client.port}", "Origin": phone.origin, **headers}
    status, options = await app.post(f"{path}/options", {}, headers=given)
    assert status == 200, options
    return await app.post(path, {"credential": phone.create(options), "name": "Phone"}, headers=given)


def phone_of(app: WebHarness, **how: Any) -> Authenticator:
    return replace(Authenticator(f"http://localhost:{app.client.port}", "localhost"), **how)


async def by_passkey(app: WebHarness, phone: Authenticator, **headers: str) -> tuple[int, Json, dict[str, str]]:
    app.client.session.cookie_jar.clear()
    given = {"Host": f"localhost:{app.client.port}", "Origin": phone.origin, **headers}
    _, options = await app.post("/signin/passkey/options", {}, headers=given)
    async with app.client.post("/signin/passkey", json={"credential": phone.get(options)}, headers=given) as response:
        cookie = {"Cookie": response.headers.get("Set-Cookie", "").partition(";")[0]}
        return response.status, await response.json(), cookie


async def test_a_passkey_by_invitation_signs_in(club: WebHarness) -> None:
    phone = phone_of(club)
    status, answer = await passkey_of(club, f"{await invited(club, name='Ada')}/passkey", phone)
    assert (status, answer) == (200, {"name": "Phone"})
    status, answer, cookie = await by_passkey(club, phone)
    assert status == 200
    account = await who(club, cookie)
    assert (account["method"], len(account["passkeys"])) == ("passkey", 1)
    # Each sign-in raises the counter; one that does not is a copy of the key.
    phone.count -= 2
    status, answer, _ = await by_passkey(club, phone)
    assert (status, error_of(answer)[0]) == (403, "refusal.passkey.wrong")


async def test_a_member_adds_and_removes_passkeys(club: WebHarness) -> None:
    phone, headers = phone_of(club), await club.signed_in()
    given = {"Cookie": headers["Cookie"]}
    assert (await passkey_of(club, "/api/account/passkeys", phone, **given))[0] == 201
    status, answer = await passkey_of(club, "/api/account/passkeys", phone, **given)
    assert (status, error_of(answer)[0]) == (400, "refusal.passkey.known")
    assert (await by_passkey(club, phone))[1] == {"name": "Ada"}
    (listed,) = (await who(club, given))["passkeys"]
    assert (listed["name"], listed["host"], listed["used_at"] is not None) == ("Phone", "localhost", True)
    status, answer = await club.post("/api/account/passkeys/remove", {"id": listed["id"]}, headers=headers)
    assert (status, answer) == (200, {})
    status, answer, _ = await by_passkey(club, phone)
    assert (status, error_of(answer)[0]) == (403, "refusal.passkey.unknown")


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("origin", {"origin": "http://evil.com"}),
        ("host", {"host": "evil.com"}),
        ("not verified", {"flags": PRESENT}),
    ],
)
async def test_another_site_s_answer_is_refused(club: WebHarness, what: str, how: dict[str, Any]) -> None:
    good = phone_of(club)
    headers = {"Cookie": (await club.signed_in())["Cookie"]}
    assert (await passkey_of(club, "/api/account/passkeys", good, **headers))[0] == 201
    bad = replace(good, **how)
    given = {"Origin": good.origin}
    status, answer, _ = await by_passkey(club, bad, **given)
    assert (status, error_of(answer)[0]) == (403, "refusal.passkey.wrong"), what
    assert club.refusals("credentials") == 1
    other = phone_of(club, **how)
    status, answer = await passkey_of(club, "/api/account/passkeys", other, **headers, **given)
    assert (status, error_of(answer)[0]) == (403, "refusal.passkey.wrong"), what


async def test_a_challenge_is_good_once_for_one_purpose_and_this_process(club: WebHarness) -> None:
    phone = phone_of(club)
    given = {"Host": f"localhost:{club.client.port}", "Origin": phone.origin}
    headers = {"Cookie": (await club.signed_in())["Cookie"], **given}
    await passkey_of(club, "/api/account/passkeys", phone, **headers)
    _, options = await club.post("/signin/passkey/options", {}, headers=given)
    first, second = phone.get(options), phone.get(options)
    assert (await club.post("/signin/passkey", {"credential": first}, headers=given))[0] == 200
    club.client.session.cookie_jar.clear()
    for replayed in (first, second, phone.get({"challenge": "AAAA"}), phone.get({"challenge": "A" * 80})):
        assert (await club.post("/signin/passkey", {"credential": replayed}, headers=given))[0] == 403
    _, register = await club.post("/api/account/passkeys/options", {}, headers=headers)
    assert (await club.post("/signin/passkey", {"credential": phone.get(register)}, headers=given))[0] == 403


@pytest.mark.parametrize("credential", [{}, {"id": 7}, {"id": "x", "response": {}}, {"id": "x" * 50_000}])
async def test_nonsense_is_one_sentence(club: WebHarness, credential: Json) -> None:
    given = {"Host": f"localhost:{club.client.port}", "Origin": f"http://localhost:{club.client.port}"}
    status, answer = await club.post("/signin/passkey", {"credential": credential}, headers=given)
    assert status == 403
    error_of(answer)


async def test_no_passkeys_at_an_address_where_browsers_accept_none(club: WebHarness) -> None:
    for host in ("127.0.0.1", f"127.0.0.1:{club.client.port}"):
        status, answer = await club.post("/signin/passkey/options", {}, headers={"Host": host})
        assert (status, error_of(answer)[0]) == (400, "refusal.passkey.address")
    account = await who(club, await club.signed_in(ADA))
    assert not account["may_add_passkey"]
