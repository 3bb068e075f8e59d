"""A running service notices that its database is damaged, and says so."""

from __future__ import annotations

import pytest

from bot.core.errors import Unavailable
from tests.fakes.job_rows import damage
from tests.flow.conftest import Make


async def test_it_is_noticed_at_start_and_while_it_runs(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    await bot.db.probe()
    for restarted in (False, True):
        if restarted:
            await bot.restart()
        else:
            damage(bot.db.path)
            bot.clock.advance(6 * 3600 + 1)
        await bot.until(lambda: "IS DAMAGED" in caplog.text)
        with pytest.raises(Unavailable) as refused:
            await bot.db.probe()
        assert refused.value.key == "unavailable.database.damaged"
        caplog.clear()
