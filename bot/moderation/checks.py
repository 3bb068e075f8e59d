"""Moderation's checks of people and prompts: bans, listed words, and the wait after repeated refusals."""

from __future__ import annotations

from dataclasses import replace

from bot.context import AdmissionContext, AppContext
from bot.core.errors import Moderated, NotAllowed
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawRequest
from bot.core.strictness import HIDDEN, WARNED, Strictness
from bot.moderation import cards as moderation_cards
from bot.moderation import reports
from bot.moderation import store as moderation_rows
from bot.moderation.store import Ban, Strikes, parse_strictness
from bot.storage import people
from bot.storage.database import Tx
from bot.storage.people import Options

STRICTNESS_OPTION = "words"
"""Option of a place, or of the service: its strictness."""

FREE_STRIKES = 2
"""Refusals in a row without a wait: people may try other words."""

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds to wait after the first refusal beyond ``FREE_STRIKES``. Each further one doubles the wait, up to an hour."""

STRIKE_FADE_SECONDS = 900.0
"""Seconds after which one refusal is forgotten."""


def check_ban(context: AdmissionContext, ban: Ban | None) -> None:
    """Raise NotAllowed with the end of the ban. ``ban`` is the person's longest active ban. Owners are exempt."""
    if ban is not None and not context.actor.is_owner:
        raise _banned(ban, context.now)


async def check_actor(tx: Tx, actor: Actor, place: Place, *, now: float, everywhere: bool = False) -> None:
    """Raise NotAllowed, with the end of the ban, if a banned person uses a button or a command. Owners are exempt.

    Args:
        tx: A transaction.
        actor: The account that acts.
        place: Where.
        now: Unix seconds.
        everywhere: Count only bans that apply everywhere, which owners set. An admin can't ban another admin from
            the administration of their place.
    """
    if actor.is_owner:
        return
    place_id = None if everywhere else await people.find_place(tx, place)
    ban = await moderation_rows.active_ban_of_account(
        tx, actor.platform, actor.user_id, moderation_rows.EVERYWHERE if place_id is None else place_id, now=now
    )
    if ban is not None:
        raise _banned(ban, now)


def check_words(
    ctx: AppContext, context: AdmissionContext, request: DrawRequest, strikes: Strikes | None
) -> tuple[DrawRequest, Strictness]:
    """Check the prompt of a request; the negative prompt is not checked.

    Returns:
        The request, with a note if its place warns or hides; and the strictness by which its pictures are judged.

    Raises:
        Moderated: The prompt has words that are refused in this place, or everywhere.
        NotAllowed: The person was refused too often recently and has to wait.
    """
    seconds = strike_wait(strikes, context.now)
    if seconds > 0 and not context.actor.is_owner:
        raise NotAllowed("refusal.words.wait", wait=seconds)
    # A parent's notes do not apply to its child, which may be requested in another place.
    notes = tuple(note for note in request.notes if note not in {HIDDEN, WARNED})
    found = ctx.word_list.find(request.prompt)
    strictness = strictness_of_place(context.place, context.options)
    if found is None:
        return replace(request, notes=notes), strictness
    if found.forbidden:
        raise Moderated("refusal.words.forbidden")
    match strictness:
        case Strictness.REFUSE:
            raise Moderated("refusal.words.refused", word=found.word)
        case Strictness.WARN:
            notes = (*notes, WARNED)
        case Strictness.SPOILER:
            notes = (*notes, HIDDEN)
        case Strictness.OFF:
            pass
    return replace(request, notes=notes), strictness


def strictness_of_place(place: Place, options: Options) -> Strictness:
    """Return a place's strictness: its admins' setting, else the owners' for all places.

    Without either it is REFUSE in public channels, and OFF in age-restricted channels and direct messages.
    """
    for setting in (options.here.get(STRICTNESS_OPTION), options.everywhere.get(STRICTNESS_OPTION)):
        if (strictness := parse_strictness(setting)) is not None:
            return strictness
    return Strictness.OFF if place.guild is None or place.age_restricted else Strictness.REFUSE


async def record_refusal(
    ctx: AppContext, actor: Actor, place: Place, ref: EventRef, *, request: DrawRequest, refusal: Moderated
) -> None:
    """Count a refusal as a strike of the account, and post it to the place's log channel. Owners get no strikes."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        place_id = await people.remember_place(tx, place, now=now)
        before = await moderation_rows.get_strikes(tx, person.id)
        if not actor.is_owner:
            await moderation_rows.put_strikes(tx, person.account_id, add_strike(before, now))
        posted = await reports.post_to_log(
            tx,
            # The account's id is in the name, so that forgetting a person finds it.
            f"refused:{person.account_id}:{ref.event}",
            place_id,
            lambda locale: moderation_cards.refused_card(refusal, actor, place, request.typed, locale),
            locale=place.locale or actor.locale,
        )
    if posted:
        ctx.backlog.messages_added()


def add_strike(before: Strikes | None, now: float) -> Strikes:
    """Return the strikes after another refusal; earlier ones fade with time."""
    if before is None:
        return Strikes(1, now)
    faded = int(max(0.0, now - before.last_at) // STRIKE_FADE_SECONDS)
    return Strikes(max(0, before.count - faded) + 1, now)


def strike_wait(strikes: Strikes | None, now: float) -> float:
    """Return the seconds until the person may request something again; 0 if they may now."""
    if strikes is None or strikes.count <= FREE_STRIKES:
        return 0.0
    seconds = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(strikes.count - FREE_STRIKES - 1, 30))
    # A refusal in the future predates a clock that was set back: no wait.
    return max(0.0, strikes.last_at + seconds - now) if strikes.last_at <= now else 0.0


def _banned(ban: Ban, now: float) -> NotAllowed:
    if ban.until is None:
        if ban.reason:
            return NotAllowed("refusal.banned.for_good_because", reason=ban.reason)
        return NotAllowed("refusal.banned.for_good")
    if ban.reason:
        return NotAllowed("refusal.banned.because", wait=ban.until - now, reason=ban.reason)
    return NotAllowed("refusal.banned", wait=ban.until - now)
