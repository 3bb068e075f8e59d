"""Words, a report and its end in a group, typed and pressed by people."""

from __future__ import annotations

from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.telegram import TelegramStandIn


async def test_a_word_is_refused_and_a_report_ends_with_a_cover(start: Start, telegram: TelegramStandIn) -> None:
    boss, bob, cleo = telegram.person("Boss"), telegram.person("Bob"), telegram.person("Cleo")
    group = telegram.group("Painters", bob, cleo, admin=boss)
    bot = await start()

    telegram.writes(group, boss, "/easel log here")
    await telegram.until(lambda: any("are posted here" in m.words for m in group.by_bot()))
    telegram.writes(group, bob, "/draw a n.u.d.e woman")
    await telegram.until(lambda: any("“nude” is not drawn" in m.words for m in group.by_bot()))
    await telegram.until(lambda: any("A request was refused." in m.words for m in group.by_bot()))
    assert await bot.count("jobs") == 0

    telegram.writes(group, bob, "/draw a duck")
    (card,) = await telegram.until(lambda: photos(group))
    telegram.presses(card, cleo, "⋯")
    await telegram.until(lambda: "easel:report:1" in str(card.markup))
    query = telegram.presses(card, cleo, "Report")
    await telegram.until(lambda: query.answered)
    assert "have been told" in query.text
    _, told = await telegram.until(lambda: shown if len(shown := photos(group)) == 2 else None)
    assert "Reported by: Cleo" in told.words

    refused = telegram.presses(told, cleo, "Hide")
    await telegram.until(lambda: refused.answered)
    assert refused.alert
    telegram.presses(told, boss, "Hide")
    await telegram.until(lambda: any(c == "editMessageMedia" and "has_spoiler" in str(p) for c, p in telegram.calls))
    covers = {p.get("message_id") for c, p in telegram.calls if c == "editMessageMedia" and "has_spoiler" in str(p)}
    assert {str(i) for i in covers} == {str(card.id)}
