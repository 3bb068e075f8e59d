"""The benchmark's workload: a burst of mixed requests, the same for each system."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import groupby

from engine import catalogue
from engine.contract import Profile, Recipe

COLOURS = ("red", "yellow", "green", "blue", "purple", "white", "black", "pink")
SUBJECTS = ("apple", "cat", "rocket", "lemon", "penguin", "castle", "dog", "mushroom")
PLACES = ("on a blue background", "in the night sky", "on a green background", "at sunset", "in snow", "by the sea")
PROMPTS = 10
"""Different prompts in a burst; people often request the same prompt again."""

_PRESETS = ("square", "square", "landscape", "portrait")
"""Half of the requests have the native square size."""


@dataclass(frozen=True, slots=True)
class Burst:
    """A burst of requests for one picture each.

    Attributes:
        recipes: The recipes in their order.
    """

    recipes: tuple[Recipe, ...]

    def batches(self) -> tuple[tuple[Recipe, ...], ...]:
        """Return the batches of a service that batches whole requests: equal shapes together, in their order."""

        def kind(recipe: Recipe) -> tuple[int, int, int, float]:
            return recipe.width, recipe.height, recipe.steps, recipe.guidance

        batches: list[tuple[Recipe, ...]] = []
        for _, group in groupby(sorted(self.recipes, key=kind), key=kind):
            same = list(group)
            most = catalogue.batch(same[0])
            batches += [tuple(same[i : i + most]) for i in range(0, len(same), most)]
        return tuple(batches)


def burst(profile: Profile, count: int, words: int) -> Burst:
    """Return a burst of ``count`` mixed requests: sizes, steps and prompts as people ask for them.

    Args:
        profile: The model.
        count: Number of requests; equal counts cost the same, whatever the prompts.
        words: Seed of the prompts.
    """
    rng = random.Random(words)  # noqa: S311 - a benchmark is no secret
    prompts = rng.sample([f"a {c} {s} {p}" for c in COLOURS for s in SUBJECTS for p in PLACES], PROMPTS)
    shapes = random.Random(count)  # noqa: S311 - see above
    usual = profile.steps.default
    more = min(profile.steps.high, usual + usual // 2)
    recipes = []
    for n in range(count):
        width, height = profile.presets[shapes.choice(_PRESETS)]
        recipes.append(
            Recipe(
                id=f"{n}",
                model=profile.name,
                prompt=prompts[n % PROMPTS],
                negative="",
                width=width,
                height=height,
                steps=shapes.choice((usual, usual, usual, more)),
                guidance=profile.guidance.default,
                seed=rng.randrange(2**32),
            )
        )
    return Burst(tuple(recipes))
