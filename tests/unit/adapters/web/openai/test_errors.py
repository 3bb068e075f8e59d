"""Errors of the OpenAI-compatible API as the ``openai`` package raises them."""

from __future__ import annotations

import openai
import pytest
from openai import AsyncOpenAI

from adapters.web.errors import Unauthorized
from adapters.web.openai.errors import ContentRejected, error_body
from bot.core.errors import Unavailable
from engine.contract import EngineError
from tests.unit.adapters.web.harness import WebHarness


@pytest.mark.parametrize(
    ("sent", "parameter", "code"),
    [
        ({"prompt": ""}, "prompt", "refusal.prompt.empty"),
        ({"n": 17}, "n", "refusal.count.range"),
        ({"n": 0}, "n", "refusal.count.range"),
        ({"size": "huge"}, "size", "refusal.size.not_understood"),
        ({"quality": "best"}, "quality", "invalid_value"),
        ({"background": "transparent"}, "background", "invalid_value"),
        ({"output_format": "svg"}, "output_format", "invalid_value"),
        ({"output_compression": 101}, "output_compression", "invalid_value"),
        ({"partial_images": 4, "stream": True}, "partial_images", "invalid_value"),
        ({"style": "nothing like it"}, "style", "refusal.style.none_near"),
        ({"extra_body": {"svg": {"model": "x"}}}, "svg", "unsupported_parameter"),
        ({"extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
        ({"extra_body": {"steps": 1000}}, "steps", "refusal.steps.range"),
        ({"n": 2**70}, "n", "refusal.count.range"),
        ({"extra_body": {"seed": 10**4000}}, "seed", "refusal.seed.range"),
        ({"extra_body": {"lora": ["x"]}}, "lora", "invalid_value"),
        ({"extra_body": {"seed": "x"}}, "seed", "refusal.seed.not_number"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: AsyncOpenAI, app: WebHarness, sent: dict[str, object], parameter: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.images.generate(**{"prompt": "a red apple", **sent})  # type: ignore[call-overload]
    error = refused.value
    assert (error.param, error.code, error.type) == (parameter, code, "invalid_request_error")
    assert isinstance(error.body, dict)
    assert error.body["message"]
    assert "{" not in error.body["message"]
    assert await app.count("jobs") == 0


async def test_a_missing_prompt_is_named(app: WebHarness) -> None:
    status, answer = await app.post("/v1/images/generations", {"model": "demo"})
    assert status == 400
    assert answer["error"]["code"] == "missing_required_parameter"
    assert answer["error"]["param"] == "prompt"


async def test_an_unknown_model_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await client.images.generate(prompt="a red apple", model="sdxl-nothing")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def with_key(app: WebHarness, key: str, **how: int) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=str(app.server.make_url("/v1")), api_key=key, **how)  # type: ignore[arg-type]


async def test_a_used_up_quota_is_explained_and_not_tried_again(app: WebHarness) -> None:
    key = (await app.key_for(quota="2/day"))["Authorization"].removeprefix("Bearer ")
    async with with_key(app, key, max_retries=2) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.images.generate(prompt="a red apple", n=3)
    error = refused.value
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert "2" in error.message
    assert int(error.response.headers["Retry-After"]) >= 1
    # The client's own header says how often it has asked.
    assert error.request.headers["x-stainless-retry-count"] == "0"


async def test_a_wrong_key_is_an_authentication_error(app: WebHarness) -> None:
    async with with_key(app, "easel-" + "x" * 43, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.images.generate(prompt="a red apple")
    assert refused.value.code == "invalid_api_key"


async def test_the_keys_of_two_programs_never_meet(app: WebHarness) -> None:
    answers = []
    for name in ("one", "two"):
        key = (await app.key_for(name))["Authorization"].removeprefix("Bearer ")
        async with with_key(app, key) as client:
            header = {"Idempotency-Key": "order 1"}
            answers.append(await client.images.generate(prompt=f"an apple for {name}", extra_headers=header))
    assert answers[0].data != answers[1].data
    assert await app.count("jobs") == 2


async def test_words_that_are_not_drawn_are_moderation(client: AsyncOpenAI, app: WebHarness) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.images.generate(prompt="child porn")
    assert refused.value.code == "moderation_blocked"
    assert await app.count("jobs") == 0


async def test_a_job_that_fails_is_a_server_error(client: AsyncOpenAI, app: WebHarness) -> None:
    app.engine._fail = lambda _: EngineError("broken")
    with pytest.raises(openai.InternalServerError) as refused:
        await client.images.generate(prompt="a red apple")
    assert refused.value.type == "server_error"
    assert await app.charged() == 0


async def test_errors_are_of_this_form_everywhere_under_v1(app: WebHarness) -> None:
    for method, path, status in (
        ("GET", "/v1/chat/completions", 404),
        ("GET", "/v1/images/generations", 405),
        ("POST", "/v1/images/generations", 415),
    ):
        async with app.client.request(method, path, data="x", headers={"Accept": "text/html,*/*"}) as response:
            assert response.status == status
            error = (await response.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}


def test_other_refusals_have_a_type_and_a_code() -> None:
    assert error_body(Unauthorized("refusal.web.token"), "No.", 401)["error"] == {
        "message": "No.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    for refusal, status, kind, code in (
        (ContentRejected("error.moderation.picture"), 400, "image_generation_user_error", "moderation_blocked"),
        (Unavailable("unavailable.queue_full"), 503, "server_error", "unavailable.queue_full"),
    ):
        error = error_body(refusal, "No.", status)["error"]
        assert isinstance(error, dict)
        assert (error["type"], error["code"]) == (kind, code)
