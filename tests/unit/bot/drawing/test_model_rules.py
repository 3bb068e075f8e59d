"""Which model serves a request with references, and what is said where none can."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput
from bot.core.requests import DrawForm, DrawRequest, ReferenceImage, SourceImage
from bot.drawing.model_rules import MAX_REFERENCES, check_count, choose_model
from bot.drawing.request_rules import check_form
from engine.contract import Capability, Profile
from tests.fakes.editing import EDITOR, PLAIN

OTHER = replace(PLAIN, name="other", title="Other", source="owner/other")
REFERENCES = (ReferenceImage("inputs/b.png", 300, 400), ReferenceImage("inputs/a.png", 90, 90))


def refused(name: str | None, profiles: Sequence[Profile], references: int = 1, edit_model: str = "") -> BadInput:
    with pytest.raises(BadInput) as caught:
        choose_model(name, profiles, references=references, edit_model=edit_model)
    return caught.value


def edit(prompt: str = "make it night", source: SourceImage | None = None) -> DrawRequest:
    return check_form(
        DrawForm(prompt),
        (PLAIN, EDITOR),
        4,
        random.Random(0),
        source=source,
        references=REFERENCES,
        edit_model="editor",
    )


def test_without_references_the_model_for_edits_is_not_asked() -> None:
    assert choose_model(None, (PLAIN, EDITOR), edit_model="editor") is PLAIN
    assert choose_model("editor", (PLAIN, EDITOR), edit_model="editor") is EDITOR


def test_an_edit_without_a_model_is_served_by_the_default_if_it_can() -> None:
    assert choose_model(None, (EDITOR, PLAIN), references=3) is EDITOR
    second = replace(EDITOR, name="second")
    assert choose_model(None, (EDITOR, second), references=1, edit_model="second") is EDITOR


def test_else_by_the_operators_model_for_edits() -> None:
    assert choose_model(None, (PLAIN, OTHER, EDITOR), references=1, edit_model="editor") is EDITOR


def test_a_named_model_is_never_replaced() -> None:
    error = refused("other", (PLAIN, OTHER, EDITOR), edit_model="editor")
    assert (error.key, error.params) == ("refusal.references.model", {"model": "Other", "known": "editor"})


def test_without_a_model_for_edits_those_that_can_are_named() -> None:
    error = refused(None, (PLAIN, EDITOR, replace(EDITOR, name="second")))
    assert (error.key, error.params["known"]) == ("refusal.references.model", "editor, second")
    assert refused(None, (PLAIN, OTHER)).key == "refusal.references.no_model"


def test_too_many_for_the_model() -> None:
    error = refused("The Editor", (PLAIN, EDITOR), references=4)
    assert (error.key, error.params) == ("refusal.references.too_many", {"n": 3, "model": "The Editor", "count": 4})


def test_too_many_for_any_request() -> None:
    check_count(MAX_REFERENCES)
    with pytest.raises(BadInput) as caught:
        check_count(MAX_REFERENCES + 1)
    assert (caught.value.key, caught.value.params) == ("refusal.references.limit", {"n": 4, "count": 5})


def test_order_is_kept_and_the_first_gives_the_ratio() -> None:
    request = edit()
    assert request.references == ("inputs/b.png", "inputs/a.png")
    assert (request.width, request.height) == EDITOR.presets["portrait"]
    assert (request.model, request.image, request.strength) == ("editor", "", 1.0)
    assert edit("make it night --size 128x64").width == 128


def test_a_start_picture_beside_them_is_refused() -> None:
    both = replace(EDITOR, can=EDITOR.can | {Capability.IMAGE})
    with pytest.raises(BadInput) as caught:
        check_form(
            DrawForm("a cat"),
            (both,),
            4,
            random.Random(0),
            source=SourceImage("inputs/c.png", 9, 9),
            references=REFERENCES,
        )
    assert caught.value.key == "refusal.references.image"


def test_with_a_mask_a_start_picture_beside_them_is_the_one_that_changes() -> None:
    def edited(**more: str) -> DrawRequest:
        return check_form(
            DrawForm("make it night", **more),  # type: ignore[arg-type]
            (EDITOR,),
            4,
            random.Random(0),
            source=SourceImage("inputs/c.png", 96, 64, "inputs/m.png", (0, 0, 48, 64)),
            references=REFERENCES,
        )

    request = edited()
    assert (request.image, request.mask, request.references) == (
        "inputs/c.png",
        "inputs/m.png",
        ("inputs/b.png", "inputs/a.png"),
    )
    assert (request.strength, request.width * 64) == (1.0, request.height * 96)
    for more, key in (
        ({"strength": "0.5"}, "refusal.strength.no_image"),
        ({"control": "canny"}, "refusal.control.model"),
    ):
        with pytest.raises(BadInput) as caught:
            edited(**more)
        assert caught.value.key == key


def test_a_model_that_only_edits_needs_a_reference_or_a_start() -> None:
    only = replace(EDITOR, can=EDITOR.can | {Capability.IMAGE}, needs_reference=True)

    def asked(**pictures: object) -> DrawRequest:
        return check_form(DrawForm("a cat"), (only,), 4, random.Random(0), **pictures)  # type: ignore[arg-type]

    with pytest.raises(BadInput) as caught:
        asked()
    assert (caught.value.key, caught.value.params) == ("refusal.references.needed", {"model": "The Editor"})
    assert asked(references=REFERENCES).references
    assert asked(source=SourceImage("inputs/c.png", 9, 9)).image


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=5),
    st.integers(0, 6),
    st.none() | st.integers(0, 5),
    st.none() | st.integers(0, 5),
)
def test_a_model_is_chosen_if_it_takes_the_references(
    able: list[tuple[bool, int]], references: int, named: int | None, edits: int | None
) -> None:
    profiles = tuple(
        replace(EDITOR if can else PLAIN, name=f"m{i}", title=f"M {i}", source=f"o/{i}", references=most if can else 0)
        for i, (can, most) in enumerate(able)
    )
    name = None if named is None else f"m{named % len(profiles)}"
    edit_model = "" if edits is None else f"m{edits % len(profiles)}"
    meant = profiles[0] if named is None else profiles[named % len(profiles)]
    if named is None and references and edits is not None and Capability.EDIT not in meant.can:
        meant = profiles[edits % len(profiles)]
    if references > meant.references:
        key = refused(name, profiles, references, edit_model).key
        assert (key == "refusal.references.too_many") == (Capability.EDIT in meant.can)
    else:
        assert choose_model(name, profiles, references=references, edit_model=edit_model) is meant
