from __future__ import annotations

from pathlib import Path

import pytest

from engine import models_file
from engine.contract import UnknownModel
from engine.ray.placement import SlotPlan, read_plans
from engine.ray.wire import ActorRequirements

MODELS = ("demo", "big")


def plans(folder: Path, text: str) -> tuple[SlotPlan, ...]:
    file = folder / "models.toml"
    file.write_text(text, encoding="utf-8")
    assert not models_file.read(file).problems, "the table is no model"
    return read_plans(str(file), MODELS)


def test_actors_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = plans(
        tmp_path,
        """
        [placement."*"]
        count = 2
        [placement.big]
        num_gpus = 2
        label_selector = { "ray.io/accelerator-type" = "H100" }
        resources = { quiet = 0.5 }
        """,
    )
    large = ActorRequirements(2.0, {"ray.io/accelerator-type": "H100"}, {"quiet": 0.5})
    assert found == (SlotPlan(), SlotPlan(), SlotPlan("big", large))


def test_without_a_table_there_is_no_plan(tmp_path: Path) -> None:
    assert plans(tmp_path, "") == ()
    assert read_plans("", MODELS) == ()
    assert read_plans(str(tmp_path / "none.toml"), MODELS) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[placement.huge]", "no model 'huge'"),
        ("[placement.big]\ncount = 0", r"\[placement.big\], count: "),
        ("[placement.big]\nnum_gpus = 1.5", "num_gpus: above 1 it must be a whole number"),
        ("[placement.big]\ngpus = 1", "gpus: "),
        ("[placement]\nbig = 3", r"\[placement.big\], table: "),
        ("placement = 3", r"\[placement.\]"),
        ("[placement.big]", "nobody draws demo"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UnknownModel, match=said):
        plans(tmp_path, text)
