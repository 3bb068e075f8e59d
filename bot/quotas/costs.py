"""What a picture costs: its pixels, its steps and its model, beside a usual picture of the reference model."""

from __future__ import annotations

from bot.core.quotas import POINT
from bot.core.requests import DrawRequest
from engine.contract import Profile


def cost_each(request: DrawRequest, profile: Profile | None) -> int:
    """Return what one picture of a request costs, in thousandths of a point; at least 1.

    Args:
        request: Any.
        profile: Its model's; a usual picture's cost is taken where the model is not there any more.
    """
    if profile is None:
        return POINT
    usual = profile.side.default**2 * profile.steps.default
    return max(1, round(POINT * profile.cost * request.width * request.height * request.steps / usual))
