"""What a flooder does to others, and how true predicted waits are: the service's own code in simulated time."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence

import pytest

from bot.observability.metrics import EtaOutcome
from tests.fakes.device import Device, two_cores
from tests.fakes.simulated_dispatch import Ask

OTHERS = 20
SIZES = ((192, 192), (256, 144), (144, 256))


def seldom(seed: int, seconds: float) -> Callable[[int], float]:
    """Everybody at some time within so many seconds, the same ones in every run."""
    rng = random.Random(seed)
    times = [rng.uniform(1, 1 + seconds) for _ in range(OTHERS)]
    return lambda n: times[n]


WHEN: dict[str, Callable[[int], float]] = {
    "at once": lambda _: 0.0,
    "in a second": lambda _: 0.5,
    "within 2 s": seldom(1, 2.0),
    "within a minute": seldom(2, 60.0),
}

FLOODS: dict[str, Callable[[], list[Ask]]] = {
    "in their place": lambda: [Ask(0.0, 1, 1) for _ in range(1000)],
    "in another place": lambda: [Ask(0.0, 1, 2) for _ in range(1000)],
    "in a direct message": lambda: [Ask(0.0, 1) for _ in range(1000)],
    "four pictures each": lambda: [Ask(0.0, 1, 1, 4, steps=20) for _ in range(1000)],
    "of another size": lambda: [Ask(0.0, 1, 1, 1, 128, 128) for _ in range(1000)],
    "ten accounts in another place": lambda: [Ask(0.0, 1 + n % 10, 2) for n in range(1000)],
}


LARGE = ((1024, 1024), (1152, 864), (864, 1152))


def card(pixels: int, together: int) -> float:
    """Seconds of a step on a card that has enough to do with one picture of 1024x1024."""
    return 0.5 * together * pixels / 1024**2


def waited(others: Sequence[Ask], flood: Sequence[Ask] = (), step: Callable[[int, int], float] = two_cores) -> float:
    """Seconds that the others wait for their pictures, on average."""
    people, found = {ask.person for ask in others}, []
    device = Device(step=step, on_done=lambda asked: found.append(asked) if asked.ask.person in people else None)
    device.run([*flood, *others], lambda: len(found) == len(others))
    return statistics.mean(asked.waited for asked in found)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flooder_makes_others_wait_a_fifth_longer_at_most(flood: str, when: str) -> None:
    others = [Ask(WHEN[when](n), 100 + n, 1, 1, *SIZES[n % len(SIZES)]) for n in range(OTHERS)]
    ratio = waited(others, FLOODS[flood]()) / waited(others)
    print(f"flooder {flood}, others {when}: {ratio:.2f} times as long")  # noqa: T201 - the figure of docs/performance.md
    assert ratio <= 1.2


@pytest.mark.parametrize("when", [*WHEN, "within ten minutes"])
@pytest.mark.parametrize(
    "flood",
    [
        [Ask(0.0, 1, 1, 1, 1024, 1024) for _ in range(1000)],
        [Ask(0.0, 1, 1, 4, 1024, 1024, steps=20) for _ in range(1000)],
        [Ask(0.0, 1 + n % 10, 2, 1, 1024, 1024) for n in range(1000)],
    ],
    ids=["in their place", "four pictures each", "ten accounts in another place"],
)
def test_the_same_before_a_card_that_draws_one_picture_at_a_time(flood: list[Ask], when: str) -> None:
    at = WHEN.get(when, seldom(2, 600.0))
    others = [Ask(at(n), 100 + n, 1, 1, *LARGE[n % len(LARGE)]) for n in range(OTHERS)]
    ratio = waited(others, flood, card) / waited(others, (), card)
    print(f"card, others {when}: {ratio:.2f} times as long")  # noqa: T201 - the figure of docs/adr/0014
    assert ratio <= 1.2


def test_a_crowd_of_accounts_gets_no_more_than_another_place() -> None:
    others = [Ask(0.0, 100 + n, 1) for n in range(OTHERS)]
    crowd = [Ask(0.0, 1000 + n % 50, 2) for n in range(400)]
    ratio = waited(others, crowd) / waited(others)
    print(f"fifty accounts with eight requests each: {ratio:.2f} times as long")  # noqa: T201
    assert ratio <= 2.5


def test_what_one_asks_for_at_once_is_begun_in_that_order() -> None:
    device = Device()
    device.run([Ask(0.0, n % 3, n % 2, 1 + n % 6, *SIZES[n % 3]) for n in range(60)])
    begun: dict[tuple[int, int | None], list[float]] = {}
    for asked in device.jobs.values():
        assert asked.begun is not None
        begun.setdefault((asked.ask.person, asked.ask.place), []).append(asked.begun)
    assert all(times == sorted(times) for times in begun.values())


def test_models_change_no_more_often_than_they_must() -> None:
    device = Device(switch=30.0)
    device.scheduler.loaded = ("one",)
    device.run([Ask(0.0, n, 1, model=("one", "two")[n % 2]) for n in range(64)])
    models = [work.ticket.model for work in device.led]
    assert sum(a != b for a, b in itertools.pairwise(models)) <= 4


def a_day(seed: int) -> list[Ask]:
    """A day of sixty people in eight places: quiet nights, evenings with more than the device can draw."""
    rng = random.Random(seed)
    asks, at = [], 0.0
    while at < 86_400:
        busy = 0.5 - 0.5 * math.cos(2 * math.pi * at / 86_400)
        at += rng.expovariate((0.1 + 1.1 * busy) / 60.0)
        person = rng.randrange(60)
        place = None if person % 5 == 0 else person % 8
        count = rng.choice((1, 1, 1, 2, 4, 4)) if rng.random() < 0.98 else 16
        asks.append(Ask(at, person, place, count, *rng.choice(SIZES), steps=rng.choice((8, 8, 8, 20))))
    return asks


def a_burst(seed: int) -> list[Ask]:
    """One request, and half a minute later forty people within a minute."""
    return [Ask(0.0, 999, 1), *crowd(seed, sorted(random.Random(seed).uniform(30, 90) for _ in range(40)))]


def an_evening(seed: int) -> list[Ask]:
    """Two hours in which the device is never idle for long."""
    rng = random.Random(seed)
    return crowd(seed, list(itertools.accumulate(rng.expovariate(1 / 16) for _ in range(2 * 3600 // 16))))


def crowd(seed: int, times: Sequence[float]) -> list[Ask]:
    """Sixty people in eight places, who ask for all kinds of pictures at these times."""
    rng = random.Random(seed)
    counts, steps = (1, 1, 1, 2, 4, 8), (8, 8, 8, 20, 50)
    return [
        Ask(at, n % 60, None if n % 5 == 0 else n % 8, rng.choice(counts), *rng.choice(SIZES), steps=rng.choice(steps))
        for n, at in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("asks", "seeds", "overhead"),
    [(a_burst, 5, 0.0), (a_burst, 5, 0.3), (a_burst, 5, 1.0), (an_evening, 1, 0.3), (an_evening, 1, 0.6)],
)
def test_few_predicted_waits_are_late_where_storing_takes_time_too(
    asks: Callable[[int], list[Ask]], seeds: int, overhead: float
) -> None:
    """After the start of the service. ``overhead`` is the share of a picture's device time that storing it takes."""
    outcomes: list[EtaOutcome] = []
    wide: list[float] = []
    asked = 0
    for seed in range(seeds):
        device = Device(step=lambda pixels, n: 20 * two_cores(pixels, n), predicting=True, overhead=overhead)
        device.run(asks(seed))
        outcomes += device.outcomes
        wide += (eta.high / eta.low for eta in device.predicted)
        asked += len(device.jobs)
    late = outcomes.count(EtaOutcome.LATE) / len(outcomes)
    said = f"{len(outcomes)} predictions, {late:.0%} late, in the middle {statistics.median(wide):.1f} times as late as early"
    print(f"{asks.__name__}, overhead {overhead:.0%}: {said}")  # noqa: T201 - the figure of docs/adr/0014
    assert len(outcomes) > 0.9 * asked
    assert late <= 0.2


def test_most_predicted_waits_come_true() -> None:
    """On a device that takes half a minute for a picture."""
    device = Device(step=lambda pixels, n: 100 * two_cores(pixels, n), predicting=True)
    device.run(a_day(3))
    outcomes = {how: device.outcomes.count(how) / len(device.outcomes) for how in EtaOutcome}
    wide = statistics.median(eta.high / eta.low for eta in device.predicted)
    print(f"{len(device.outcomes)} predictions, in the middle {wide:.1f} times as late as early: {outcomes}")  # noqa: T201 - the figure of docs/performance.md
    assert len(device.outcomes) > 0.9 * len(device.jobs)
    assert outcomes[EtaOutcome.WITHIN] >= 0.8
