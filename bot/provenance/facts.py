"""What may be said of one picture in its file: the only place that decides on privacy and on the kind of source."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bot.core.inspection import COMPOSITE, TRAINED
from bot.core.preferences import RecipeRule, narrower
from bot.core.requests import DrawRequest
from bot.provenance import a1111
from bot.settings import LabelPlace, Settings
from bot.storage import data_files
from engine.contract import Image, Profile, Recipe

_COMMIT_CHARS = 10


@dataclass(frozen=True, slots=True)
class MarkingRules:
    """What the operator wants in every file.

    Attributes:
        recipe: Whether files tell how they were drawn: those of public jobs, all, or none.
        name: Organisation that runs this Easel; empty for none.
        aigc_producer: Producer in China's AIGC label; empty: no label.
        label: Where every picture has the visible label; ``off``: only where its request asks for it.
    """

    recipe: RecipeRule = RecipeRule.PUBLIC
    name: str = ""
    aigc_producer: str = ""
    label: LabelPlace = LabelPlace.OFF

    def draws_label(self, request: DrawRequest) -> bool:
        """Whether a request's pictures get the visible label."""
        return request.label or self.label is LabelPlace.CORNER


def marking_rules(settings: Settings) -> MarkingRules:
    """Return what the settings say of marks."""
    return MarkingRules(
        recipe=settings.provenance_recipe,
        name=settings.provenance_name,
        aigc_producer=settings.provenance_aigc_producer,
        label=settings.provenance_label,
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a picture's file says. It never names a person, a place or a job: files can't be recalled from chats.

    Attributes:
        source_type: IPTC's DigitalSourceType: TRAINED or COMPOSITE.
        system: The model's title.
        system_version: Commit of the model's files, else the hash of its single file, else Easel's version.
        created: When it was drawn, UTC, whole seconds.
        document: Random id of this file.
        parameters: A1111's text; empty where the file does not tell how it was drawn.
        prompt: The prompt and the negative prompt; empty likewise.
        credit: Organisation that runs this Easel; empty for none.
        aigc_producer: Producer in China's AIGC label; empty: no label of this Easel.
        kept_label: AIGC label of a picture that it was drawn from, which stands where this Easel writes none.
    """

    source_type: str
    system: str
    system_version: str
    created: datetime
    document: uuid.UUID
    parameters: str = field(default="", repr=False)
    prompt: str = field(default="", repr=False)
    credit: str = ""
    aigc_producer: str = ""
    kept_label: str = ""


def facts_of(
    request: DrawRequest,
    recipe: Recipe,
    image: Image,
    profile: Profile | None,
    rules: MarkingRules,
    *,
    drawn_at: float,
    kept_label: str = "",
    composite: bool = False,
) -> Facts:
    """Return what the file of one picture says.

    Args:
        request: The picture's request.
        recipe: How it was drawn.
        image: What the engine reports of it.
        profile: The model; None if it is not known any more.
        rules: What the operator wants.
        drawn_at: Unix seconds.
        kept_label: AIGC label of the pictures that it was drawn from; empty for none.
        composite: Whether one of Easel's pictures that it was drawn from has somebody's own picture as a part.
    """
    title = recipe.model if profile is None else profile.title
    rule = narrower(rules.recipe, request.recipe_rule)
    told = rule is RecipeRule.ALWAYS or (rule is RecipeRule.PUBLIC and not request.private)
    return Facts(
        source_type=COMPOSITE if composite or _has_own_pictures(request) else TRAINED,
        system=title,
        system_version=image.revision[:_COMMIT_CHARS] or image.checkpoint or f"Easel {a1111.easel_version()}",
        created=datetime.fromtimestamp(int(drawn_at), UTC),
        document=uuid.uuid4(),
        parameters=_parameters(request, recipe, image, profile, title, labelled=rules.draws_label(request))
        if told
        else "",
        prompt=_prompt(recipe) if told else "",
        credit=rules.name,
        aigc_producer=rules.aigc_producer,
        kept_label=kept_label,
    )


def _has_own_pictures(request: DrawRequest) -> bool:
    """Whether somebody's own picture is a part of the result; Easel's own pictures and control pictures are not."""
    started = () if request.control else (request.image,)
    return any(name and not name.startswith(f"{data_files.PICTURES}/") for name in (*started, *request.references))


def _prompt(recipe: Recipe) -> str:
    return f"{recipe.prompt}\nNegative: {recipe.negative}" if recipe.negative else recipe.prompt


def _parameters(
    request: DrawRequest, recipe: Recipe, image: Image, profile: Profile | None, title: str, *, labelled: bool
) -> str:
    return a1111.parameters(
        recipe,
        title,
        sampler="" if profile is None else profile.sampler,
        style=request.style,
        upscale=request.upscale,
        precision=image.precision,
        revision=image.revision,
        checkpoint=image.checkpoint,
        lora_hashes=image.loras,
        notes=image.notes,
        labelled=labelled,
    )
