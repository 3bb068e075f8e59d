"""Reads the table ``[placement]`` of models.toml: which models are drawn on which machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.contract import UnknownModel
from engine.model_tables import PLACEMENT, named_tables
from engine.ray.wire import ActorRequirements

ANY = "*"
"""Name of the table whose actors draw every model."""

MOST = 1000
"""Most actors of one table."""


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """An actor that is to run.

    Attributes:
        model: Name of the only model that it draws; empty: all of them.
        requirements: What it needs of its node.
    """

    model: str = ""
    requirements: ActorRequirements = field(default_factory=ActorRequirements)


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    count: Annotated[int, Field(ge=1, le=MOST)] = 1
    num_gpus: Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)] = 1.0
    label_selector: dict[str, str] = {}
    resources: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}


def read_plans(models_file: str, models: Collection[str]) -> tuple[SlotPlan, ...]:
    """Return the actors that the file asks for, in its order; nothing without the table.

    Args:
        models_file: Path of ``models.toml``; it may be missing or empty.
        models: Names of the models that people can choose.

    Raises:
        UnknownModel: A table has a mistake, or some models could be drawn by nobody; one sentence that names the file,
            the table and the key.
    """
    plans: list[SlotPlan] = []
    for name, table in named_tables(models_file, PLACEMENT):
        where = f"{models_file}, [{PLACEMENT}.{name}]"
        if name != ANY and name not in models:
            raise UnknownModel(f'{where}: there is no model {name!r}; there are "*" for all, {", ".join(models)}.')
        try:
            found = _Table.model_validate(table)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "table"
            raise UnknownModel(f"{where}, {key}: {first['msg']}.") from None
        # More than one GPU, or parts of one: Ray takes whole ones above 1.
        if found.num_gpus > 1 and found.num_gpus % 1:
            raise UnknownModel(f"{where}, num_gpus: above 1 it must be a whole number, not {found.num_gpus:g}.")
        requirements = ActorRequirements(found.num_gpus, found.label_selector, found.resources)
        plans += [SlotPlan("" if name == ANY else name, requirements)] * found.count
    drawn = {plan.model for plan in plans}
    if plans and "" not in drawn and (missing := [name for name in models if name not in drawn]):
        raise UnknownModel(
            f'{models_file}, [{PLACEMENT}]: nobody draws {", ".join(missing)}; add a table [{PLACEMENT}."{ANY}"].'
        )
    return tuple(plans)
