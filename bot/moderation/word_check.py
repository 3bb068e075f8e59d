"""Whether the words of a request may be drawn in this place, and whether its person has to wait before the next one."""

from __future__ import annotations

from dataclasses import replace

from bot.context import AppContext
from bot.core.errors import Moderated, NotAllowed
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawRequest
from bot.core.strictness import HIDDEN, WARNED, Strictness, strictness_of
from bot.moderation import cards as present
from bot.moderation import reports
from bot.moderation import store as moderation_rows
from bot.moderation import strikes as rules
from bot.moderation.strikes import Strikes
from bot.places.admission_context import AdmissionContext
from bot.storage import people
from bot.storage.options import Options

WORDS = "words"
"""Option of a place, or of the service: how strict it is."""


def check_words(
    ctx: AppContext, asking: AdmissionContext, request: DrawRequest, strikes: Strikes | None
) -> tuple[DrawRequest, Strictness]:
    """Return the request, with a note where the place only warns or hides, and how strict the place is: its pictures
    are judged by that. What is not wanted in a picture is not looked at.

    Raises:
        Moderated: The place does not draw such words, or nobody does.
        NotAllowed: They were refused too often of late and have to wait.
    """
    seconds = rules.wait(strikes, asking.now)
    if seconds > 0 and not asking.actor.is_owner:
        raise NotAllowed("refusal.words.wait", wait=seconds)
    # A parent's notes say nothing of its child: it may be asked for in another place.
    notes = tuple(note for note in request.notes if note not in {HIDDEN, WARNED})
    found = ctx.words.look(request.prompt)
    strict = strictness_of_place(asking.place, asking.options)
    if found is None:
        return replace(request, notes=notes), strict
    if found.forbidden:
        raise Moderated("refusal.words.forbidden")
    match strict:
        case Strictness.REFUSE:
            raise Moderated("refusal.words.refused", word=found.word)
        case Strictness.WARN:
            notes = (*notes, WARNED)
        case Strictness.SPOILER:
            notes = (*notes, HIDDEN)
        case Strictness.OFF:
            pass
    return replace(request, notes=notes), strict


def strictness_of_place(place: Place, options: Options) -> Strictness:
    """Return how strict a place is: as its admins have set it, else as the owners have for all; where nobody has said
    anything, words are refused where everybody reads them, and neither in places for adults nor where one is alone.
    """
    for said in (strictness_of(options.here.get(WORDS)), strictness_of(options.everywhere.get(WORDS))):
        if said is not None:
            return said
    return Strictness.OFF if place.guild is None or place.age_restricted else Strictness.REFUSE


async def record_refusal(
    ctx: AppContext, actor: Actor, place: Place, ref: EventRef, *, request: DrawRequest, refusal: Moderated
) -> None:
    """Count a refusal against whoever asked, and tell the place's log of it. What was refused was undone already."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        place_id = await people.remember_place(tx, place, now=now)
        before = await moderation_rows.strikes_of(tx, person.id)
        if not actor.is_owner:
            await moderation_rows.put_strikes(tx, person.account_id, rules.added(before, now))
        told = await reports.post_to_log(
            tx,
            # By account, so that forgetting finds it.
            f"refused:{person.account_id}:{ref.event}",
            place_id,
            lambda locale: present.refused_card(refusal, actor, place, request.typed, locale),
            locale=place.locale or actor.locale,
        )
    if told:
        ctx.backlog.posted()
