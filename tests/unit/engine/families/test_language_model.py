"""Writing token by token against transformers' own ``generate``: same weights, same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from engine.contract import CannotWrite
from engine.diffusion.memory.apply import take_turns
from engine.diffusion.memory.stream import stream
from engine.families.language_model import LanguageModel, decode, generate, of_text_encoder
from tests.fakes import text_models

CPU = torch.device("cpu")
MOST = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_models.writer(tmp_path_factory.mktemp("writer"))


@pytest.fixture
def whole(folder: Path) -> LanguageModel:
    """The model with its head."""
    module = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return LanguageModel(module, transformers.AutoTokenizer.from_pretrained(folder), CPU)


def encoder(whole: LanguageModel) -> Any:
    """Return the decoder alone, as a pipeline has it."""
    return whole.module.model


def tokens(model: LanguageModel, *, temperature: float = 0.0, seed: int = 1) -> list[int]:
    return list(generate(lambda: model, model.question("a cat"), most=MOST, temperature=temperature, seed=seed))


def test_greedy_tokens_are_those_of_transformers(whole: LanguageModel) -> None:
    question = whole.question("a cat")
    wanted = whole.module.generate(question, max_new_tokens=MOST, do_sample=False)[0, question.shape[1] :].tolist()
    assert tokens(whole) == wanted
    assert tokens(of_text_encoder("Small", encoder(whole), whole.tokenizer, CPU)) == wanted


def test_a_text_encoder_has_no_weights_of_its_own_for_its_head(whole: LanguageModel) -> None:
    made = of_text_encoder("Small", encoder(whole), whole.tokenizer, CPU)
    assert made.head is not None
    assert made.head.data_ptr() == encoder(whole).embed_tokens.weight.data_ptr()


def test_a_streamed_text_encoder_writes_the_same(whole: LanguageModel) -> None:
    wanted = tokens(whole)
    stream(encoder(whole), CPU)
    assert tokens(of_text_encoder("Small", encoder(whole), whole.tokenizer, CPU)) == wanted


def test_a_text_encoder_that_takes_turns_with_others_says_that_it_can_t(whole: LanguageModel) -> None:
    take_turns([encoder(whole), torch.nn.Linear(1, 1)], CPU)
    with pytest.raises(CannotWrite, match="EASEL_TEXT_MODEL"):
        of_text_encoder("Small", encoder(whole), whole.tokenizer, CPU)


def test_a_text_encoder_without_a_head_says_that_it_can_t(whole: LanguageModel) -> None:
    encoder(whole).config.tie_word_embeddings = False
    with pytest.raises(CannotWrite, match="no head"):
        of_text_encoder("Small", encoder(whole), whole.tokenizer, CPU)


def test_a_seed_decides_the_choice(whole: LanguageModel) -> None:
    first = tokens(whole, temperature=0.5, seed=1)
    assert tokens(whole, temperature=0.5, seed=1) == first
    assert tokens(whole, temperature=0.5, seed=2) != first


def test_an_end_token_ends_the_answer(whole: LanguageModel) -> None:
    answer = tokens(whole)
    whole.module.generation_config.eos_token_id = [whole.tokenizer.eos_token_id, answer[3]]
    assert tokens(whole) == answer[: answer.index(answer[3])]


def test_a_template_without_a_system_prompt_and_none_at_all(whole: LanguageModel) -> None:
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    whole.tokenizer.chat_template = refuses + "{{ messages[0]['content'] }}"
    assert "a cat" in decode(whole.tokenizer, whole.question("a cat")[0].tolist())
    whole.tokenizer.chat_template = None
    assert "a cat" in decode(whole.tokenizer, whole.question("a cat")[0].tolist())
