"""A1111's options: the model is the person's, and nothing else can be set."""

from __future__ import annotations

from tests.unit.adapters.web.harness import WebHarness


async def test_the_model_is_the_persons_choice_and_is_kept(app: WebHarness) -> None:
    _, options = await app.get("/sdapi/v1/options")
    assert options["sd_model_checkpoint"] == "Easel demo"
    assert (options["samples_format"], options["CLIP_stop_at_last_layers"]) == ("png", 1)
    # Open WebUI sends everything back, with another model.
    status, answer = await app.post("/sdapi/v1/options", options | {"sd_model_checkpoint": "fixed"})
    assert (status, bool(answer)) == (200, False)
    _, options = await app.get("/sdapi/v1/options")
    assert options["sd_model_checkpoint"] == "Fixed"
    card = await app.drawn("a red apple", steps="2")
    assert app.engine.painted[-1].model == "fixed"
    assert card["final"]


async def test_what_can_not_be_set_is_refused_by_name(app: WebHarness) -> None:
    for options, field in (
        ({"CLIP_stop_at_last_layers": 2}, "CLIP_stop_at_last_layers"),
        ({"unheard_of": True}, "unheard_of"),
        ({"sd_model_checkpoint": "nowhere"}, "sd_model_checkpoint"),
        ({"sd_model_checkpoint": 7}, "sd_model_checkpoint"),
    ):
        status, answer = await app.post("/sdapi/v1/options", options)
        assert status == 422
        assert answer["detail"][0]["loc"] == ["body", field]
    _, options = await app.get("/sdapi/v1/options")
    assert options["sd_model_checkpoint"] == "Easel demo"
