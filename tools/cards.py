"""Cards of every kind as Discord and Telegram show them, from what the adapters send; for docs/images (tools/docs_images.py)."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from adapters.discord.pictures import preview_upload, uploads
from adapters.discord.render import view_of
from adapters.telegram.render import CAPTION_LIMIT, TEXT_LIMIT, keyboard, words
from bot.cards.i18n import LOCALES, text
from bot.cards.job_card import card_of, error_key, refused
from bot.core.cards import Card, CardPreview
from bot.core.errors import Key, OverQuota
from bot.core.jobs import Job, JobState
from bot.core.pictures import Picture
from bot.core.ports import Eta, QueuePosition
from bot.core.quotas import Allowance, Limit, QuotaStatus
from bot.core.requests import DrawRequest
from bot.delivery.previews import preview_sheet
from bot.drawing.commands import example_buttons
from bot.drawing.styles import BUILT_IN
from bot.features import COMMANDS
from bot.history import listing
from bot.history.cards import HistoryLine, help_card, history_card, start_card
from bot.preferences.cards import settings_card
from bot.preferences.commands import OWN
from bot.quotas.cards import quota_card
from engine.contract import OutOfMemory
from engine.families.z_image.spec import demo
from tests.e2e.service import Service
from tools.cards_html import Bubble, Sheet, discord_message, telegram_message

PROMPTS = {
    "en": (
        "a castle at sunset",
        "a strawberry on a blue background",
        "a cat in the night sky",
        "a penguin in the snow",
    ),
    "zh_CN": ("日落时的城堡", "蓝色背景上的草莓", "夜空中的猫", "雪地里的企鹅"),
}
ENGLISH = PROMPTS["en"]
DRAWING = 2
"""The prompt of the card that is being drawn."""
PROGRESS = 0.62
"""Its progress."""
NAMES = {"en": "Ann", "zh_CN": "小安"}
LABELS = {
    "waiting": ("Waiting", "排队"),
    "next": ("Next", "下一个"),
    "running": ("Drawing", "正在画"),
    "done": ("Done", "完成"),
    "four": ("Four pictures", "四张图"),
    "partial": ("Partly done", "部分完成"),
    "failed": ("Failed", "失败"),
    "refused": ("Refused", "拒绝"),
    "cancelled": ("Cancelled", "取消"),
    "held": ("Held for the owner", "等待所有者批准"),
    "forgotten": ("Forgotten", "已忘记"),
    "private": ("Private", "仅自己可见"),
    "quota": ("Quota", "额度"),
    "history": ("History", "历史"),
    "settings": ("Settings", "设置"),
    "start": ("Start", "开始"),
    "help": ("Help", "帮助"),
}


def draw(service: Service, folder: Path) -> tuple[tuple[Picture, ...], CardPreview]:
    """Draw with the service's demo model, and store the pictures in a folder.

    Returns one picture for each prompt, then four of the first, and a preview of DRAWING.
    """
    made: list[Picture] = []
    for prompt, count in [*((prompt, 1) for prompt in ENGLISH), (ENGLISH[0], 4)]:
        card = service.finished(service.draw(prompt, seed="4", count=str(count)))
        for index, shown in enumerate(card["pictures"]):
            made.append(picture(service.get(shown["url"]), folder, len(made), index))
    preview = preview_of(service, service.draw(ENGLISH[DRAWING], seed="4", steps="50"))
    return tuple(made), preview


def picture(png: bytes, folder: Path, number: int, index: int = 0) -> Picture:
    """Store a PNG; returns the row of a picture of its own job."""
    path = folder / f"{number}.png"
    path.write_bytes(png)
    with Image.open(path) as image:
        width, height = image.size
    return Picture(
        id=number,
        job_id=number + 21,
        index=index,
        seed=4 + index,
        path=path.name,
        bytes=len(png),
        created_at=0.0,
        width=width,
        height=height,
        seconds=0.4,
    )


def preview_of(service: Service, job_id: int) -> CardPreview:
    """Return a preview of a job that is being drawn, from about PROGRESS on."""
    side = demo().side.default
    with urllib.request.urlopen(f"{service.url}/api/jobs/{job_id}/events", timeout=60) as events:  # noqa: S310 - its own
        for line in events:
            field, _, data = line.decode().partition(": ")
            card = json.loads(data)["card"] if field == "data" else {}
            address = ((card.get("coming") or {}).get("previews") or {}).get("0")
            if address and (card["progress"] or 0) >= PROGRESS and (seen := service.get(address)):
                return CardPreview(preview_sheet([seen], side, side), 1)
    raise RuntimeError("the picture was drawn before a preview was made")


def job(state: JobState, locale: str, number: int = 0, *, error: str = "", **changes: object) -> Job:
    """Return a job of the demo model about one of PROMPTS."""
    prompt = PROMPTS[locale][number]
    profile = demo()
    request = DrawRequest(
        prompt=prompt,
        typed=prompt,
        negative="",
        width=profile.side.default,
        height=profile.side.default,
        steps=profile.steps.default,
        guidance=profile.guidance.default,
        seed=4,
        count=1,
        model=profile.name,
    )
    return Job(
        id=21 + number,
        state=state,
        person_id=1,
        account_id=1,
        place_id=None,
        request=replace(request, **changes),  # type: ignore[arg-type]
        locale=locale,
        asker=NAMES[locale],
        attempts=0,
        created_at=0.0,
        seconds=0.42,
        error=error,
    )


async def cards_of(locale: str, folder: Path, pictures: Sequence[Picture], preview: CardPreview) -> dict[str, Card]:
    """Return a card of each kind, by its label."""
    now, profile, single, four = time.time(), demo(), pictures[: len(ENGLISH)], pictures[len(ENGLISH) :]

    def shown(
        made: Job,
        drawn: Sequence[Picture] = (),
        *,
        waiting: QueuePosition | None = None,
        progress: float | None = None,
        owned: bool = True,
    ) -> Card:
        return card_of(
            made,
            drawn,
            pictures_dir=folder,
            buttons=COMMANDS.job_buttons,
            waiting=waiting,
            progress=progress,
            profile=profile,
            owned=owned,
        )

    done = JobState.DELIVERED
    lines = [HistoryLine(job(done, locale, n), 4, favourite=n == 1) for n in reversed(range(len(single)))]
    sheet = await listing.store(
        folder, [folder / p.path for p in reversed(single)], [f"#{line.job.id}" for line in lines], "history"
    )
    quota = QuotaStatus(13, (Allowance(Limit(20), 7, 13, now + 2 * 3600, 3),), now=now)
    over = OverQuota("refusal.quota.left", wanted=4, n=1, limit=20, window=Key("window.day"), returns=3, wait=2 * 3600)
    most = 4
    return {
        "waiting": shown(job(JobState.QUEUED, locale), waiting=QueuePosition(3, Eta(20, 40))),
        "next": shown(job(JobState.QUEUED, locale, 1), waiting=QueuePosition(1, Eta(4, 5))),
        "running": replace(shown(job(JobState.RUNNING, locale, DRAWING), progress=PROGRESS), preview=preview),
        "done": shown(job(done, locale), single[:1]),
        "four": shown(job(done, locale, count=4), four),
        "partial": shown(job(done, locale, 1, count=2), single[1:2]),
        "failed": shown(job(JobState.FAILED, locale, 2, error=error_key(OutOfMemory.code))),
        "cancelled": shown(job(JobState.CANCELLED, locale, 3)),
        "held": shown(job(JobState.HELD, locale, 3)),
        "forgotten": shown(replace(job(done, locale), forgotten=True)),
        "private": shown(job(done, locale, 3, private=True), single[3:]),
        "refused": refused(over, locale, now=now),
        "quota": quota_card(quota, locale),
        "history": history_card(lines, locale, sheet=sheet, older=True),
        "settings": settings_card(
            {"model": profile.name, "size": "3:4", "private": "yes"}, [arg.name for arg in OWN], locale, changed=False
        ),
        "start": start_card(locale, example_buttons(locale)),
        "help": replace(
            help_card((profile,), tuple(BUILT_IN), tuple(profile.presets), most, locale),
            buttons=(example_buttons(locale),),
        ),
    }


async def discord_sheet(cards: dict[str, Card], locale: str) -> Sheet:
    """Return the cards as Discord shows the components that the adapter sends."""
    sheet = Sheet("discord")
    for name, card in cards.items():
        if name == "start":
            continue  # a command of Telegram; on Discord the help has the examples
        if name == "help":
            card = replace(card, notes=(text(locale, "discord.help"), *card.notes))  # noqa: PLW2901 - as the adapter does
        files = await uploads(card.pictures, (demo(),) if card.job_id is not None else ())
        if card.preview is not None:
            files = (preview_upload(card, card.preview),)
        components = view_of(card, files).to_components()  # type: ignore[no-untyped-call]
        data = {file.sent_as: file.data for file in files}
        only = {"en": "Only you can see this · Dismiss message", "zh_CN": "只有您可以看到它 · 忽略此条消息"}[locale]
        sheet.add(
            LABELS[name][LOCALES.index(locale)],
            discord_message(components, data, locale, note=only if card.private else ""),
        )
    return sheet


async def telegram_sheet(cards: dict[str, Card], locale: str) -> Sheet:
    """Return the cards as Telegram shows the text, entities and keyboards that the adapter sends."""
    sheet = Sheet("telegram")
    for name, card in cards.items():
        if name == "help":
            card = replace(card, notes=(text(locale, "telegram.examples"), *card.notes))  # noqa: PLW2901 - as the adapter does
        album = [f.path.read_bytes() for f in card.pictures] if len(card.pictures) > 1 else []
        pictured = card.pictures if not album else ()
        said, entities = words(card, CAPTION_LIMIT if pictured else TEXT_LIMIT)
        markup = keyboard(card)
        bubble = Bubble(
            said,
            [entity.model_dump(exclude_none=True) for entity in entities],
            [] if markup is None else [[button.text for button in row] for row in markup.inline_keyboard],
            [f.path.read_bytes() for f in pictured],
        )
        above = [Bubble("", [], [], album)] if album else []
        sheet.add(LABELS[name][LOCALES.index(locale)], "".join(telegram_message(b) for b in (*above, bubble)))
    return sheet


async def sheets(locale: str, folder: Path, pictures: Sequence[Picture], preview: CardPreview) -> dict[str, Sheet]:
    """Return all cards in a language as each platform shows them, by the platform's name."""
    cards = await cards_of(locale, folder, pictures, preview)
    return {"discord": await discord_sheet(cards, locale), "telegram": await telegram_sheet(cards, locale)}
