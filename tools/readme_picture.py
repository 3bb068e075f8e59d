"""The first picture of README.md as HTML: the page and both chats side by side."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path

from adapters.discord.pictures import uploads
from adapters.discord.render import view_of
from adapters.telegram.render import CAPTION_LIMIT, TEXT_LIMIT, keyboard, words
from bot.core.cards import Card
from engine.families.z_image.spec import demo
from tools.cards import NAMES, PROMPTS
from tools.cards_html import STYLE, Bubble, discord_message, telegram_message

WIDTH, HEIGHT = 1240, 840
PAGE_WIDTH, PAGE_HEIGHT = 1060, 1020
"""The window of the page, which is shown at 760 pixels."""

FRAME = """
body { width: 1240px; height: 840px; overflow: hidden; position: relative; background: #eceaf6 }
.window { position: absolute; border-radius: 14px; overflow: hidden; box-shadow: 0 0 0 1px #0000001a, 0 18px 40px #1c184533 }
.bar { height: 34px; display: flex; align-items: center; gap: 7px; padding: 0 14px; font-size: 13px; font-weight: 600 }
.dot { width: 10px; height: 10px; border-radius: 50%; background: #cfcbdd }
.address { margin: 0 auto; font-weight: 400; color: #6b6780; background: #f1f0f7; border-radius: 7px; padding: 2px 90px }
.page { left: 32px; top: 32px; width: 760px }
.page .bar { background: #fff }
.page > img { width: 760px }
.chat { padding: 0 14px 14px; display: grid; gap: 12px }
.window.discord { left: 812px; top: 32px; width: 396px }
.discord .bar { background: #2b2d31; color: #f2f3f5 }
.discord .chat { padding-top: 12px }
.command { color: #949ba4; font-size: 13px; margin-left: 52px }
.command b { color: #c9cdfb; font-weight: 600 }
.window.telegram { left: 548px; top: 372px; width: 270px }
.telegram .bar { background: #fff; color: #222 }
.telegram .chat { padding-top: 12px; gap: 8px }
.mine { justify-self: end; background: #e3fdd0; border-radius: 14px 14px 4px 14px; padding: 7px 12px; box-shadow: 0 1px 1px #0003 }
.avatar { font-size: 20px }
.window.telegram .key { font-size: 11.5px; padding: 8px 0; letter-spacing: -.02em }
.window.discord > *, .window.telegram > * { zoom: .84 }
"""
USED = {"en": "used", "zh_CN": "使用了"}


async def readme_picture(cards: Mapping[str, Card], page: bytes, locale: str) -> str:
    """Return the whole HTML.

    Args:
        cards: Cards by their labels, as ``tools.cards.cards_of`` makes them.
        page: A PNG of the page.
        locale: The language of the chats.
    """
    name, prompts = html.escape(NAMES[locale]), [html.escape(prompt) for prompt in PROMPTS[locale]]
    command = f'<div class="command"><b>{name}</b> {USED[locale]} <b>/draw</b></div>'
    discord = command + "".join([await _discord(cards[kind], locale) for kind in ("waiting", "four", "refused")])
    mine = f'<div class="mine">{prompts[3]}</div>'
    telegram = mine + f"<div>{_telegram(cards['private'])}</div>"
    dots = '<span class="dot"></span>' * 3
    shot = f'<img src="data:image/png;base64,{base64.b64encode(page).decode()}">'
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}{FRAME}</style><body>'
        f'<div class="window page"><div class="bar">{dots}<span class="address">127.0.0.1:7860</span></div>{shot}</div>'
        f'<div class="window discord"><div class="bar"># drawing</div><div class="chat">{discord}</div></div>'
        f'<div class="window telegram"><div class="bar">Easel</div><div class="chat">{telegram}</div></div></body>'
    )


async def _discord(card: Card, locale: str) -> str:
    files = await uploads(card.pictures, (demo(),) if card.job_id is not None else ())
    components = view_of(card, files).to_components()  # type: ignore[no-untyped-call]
    return discord_message(components, {file.sent_as: file.data for file in files}, locale)


def _telegram(card: Card) -> str:
    said, entities = words(card, CAPTION_LIMIT if card.pictures else TEXT_LIMIT)
    markup = keyboard(card)
    rows = [] if markup is None else [[button.text for button in row] for row in markup.inline_keyboard]
    pictures = [Path(file.path).read_bytes() for file in card.pictures]
    return telegram_message(Bubble(said, [entity.model_dump(exclude_none=True) for entity in entities], rows, pictures))
