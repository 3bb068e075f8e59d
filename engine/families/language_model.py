"""A causal language model that writes token by token: a text encoder with tied embeddings, or a whole model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from torch.nn import functional

from engine import expansion
from engine.contract import CannotWrite

TOP = 20
"""Most likely tokens among which one is drawn, as Qwen3's card advises."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A language model on its device.

    Attributes:
        module: A decoder of transformers, or with its head a whole causal language model.
        tokenizer: Its tokenizer.
        device: Where its inputs belong.
        head: The embeddings that turn the decoder's output into logits, (tokens, channels); None: the module does it.
    """

    module: Any
    tokenizer: Any
    device: torch.device
    head: Tensor | None = None

    @property
    def stops(self) -> frozenset[int]:
        """The tokens that end an answer."""
        known = (
            getattr(getattr(self.module, "generation_config", None), "eos_token_id", None),
            getattr(self.module.config, "eos_token_id", None),
            self.tokenizer.eos_token_id,
        )
        listed = [one if isinstance(one, list | tuple) else [one] for one in known]
        return frozenset(int(token) for tokens in listed for token in tokens if token is not None)

    @torch.no_grad()
    def predict(self, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Return the logits of the next token, (tokens,), and the cache of keys and values with these tokens in it.

        Args:
            ids: (1, n) tokens that are not in the cache.
            cache: What the last call returned; None at first.
        """
        found = self.module(input_ids=ids.to(self.device), past_key_values=cache, use_cache=True)
        if self.head is None:
            return found.logits[0, -1], found.past_key_values
        # Streamed embeddings wait in main memory, and the last layer runs there.
        last = found.last_hidden_state[:, -1:].to(self.head.device, self.head.dtype)
        return functional.linear(last, self.head)[0, -1], found.past_key_values

    def question(self, prompt: str) -> Tensor:
        """Return the tokens that ask for a longer prompt, (1, n)."""
        templated = bool(self.tokenizer.chat_template)
        if not templated:
            text = expansion.plain(prompt)
        else:
            try:
                text = self._templated(prompt, system=True)
            except TemplateError:  # some templates refuse a system prompt
                text = self._templated(prompt, system=False)
        found: Tensor = self.tokenizer(text, return_tensors="pt", add_special_tokens=not templated).input_ids
        return found

    def _templated(self, prompt: str, *, system: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            expansion.messages(prompt, system=system), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text


def of_text_encoder(title: str, module: Any, tokenizer: Any, device: torch.device) -> LanguageModel:
    """Return a text encoder as a language model. Its head is its embeddings, so that no weights are loaded twice.

    Args:
        title: The model's name, for errors.
        module: A decoder with tied embeddings, such as Qwen3Model, or a whole model.
        tokenizer: Its tokenizer.
        device: The device that computes.

    Raises:
        CannotWrite: It is moved to the device for each call, which would take seconds for each token, or it has no head.
    """
    if hasattr(module, "_hf_hook"):
        raise CannotWrite(
            f"The text encoder of {title} is not kept on the device, which is too small for it, so that writing would "
            "take minutes: set EASEL_TEXT_MODEL to a small language model."
        )
    if module.get_output_embeddings() is not None:
        return LanguageModel(module, tokenizer, device)
    if not module.config.tie_word_embeddings:
        raise CannotWrite(f"The text encoder of {title} has no head to write with: set EASEL_TEXT_MODEL.")
    return LanguageModel(module, tokenizer, device, module.get_input_embeddings().weight)


def decode(tokenizer: Any, tokens: list[int]) -> str:
    """Return the text of tokens."""
    text: str = tokenizer.decode(tokens, skip_special_tokens=True)
    return text


def generate(
    model: Callable[[], LanguageModel], ids: Tensor, *, most: int, temperature: float, seed: int
) -> Iterator[int]:
    """Yield the tokens of an answer, one for each call of the model, up to the one that ends it.

    Args:
        model: Returns the model, for each token again, so that nothing here keeps a model that was unloaded.
        ids: The question, (1, n).
        most: Most tokens.
        temperature: How freely tokens are chosen; 0: always the likeliest.
        seed: Decides the choice, 0 to 2**63 - 1.
    """
    generator = torch.Generator().manual_seed(seed)
    cache = None
    for _ in range(most):
        now = model()
        logits, cache = now.predict(ids, cache)
        token = _choose(logits, temperature, generator)
        if token in now.stops:
            return
        del now  # it may be unloaded before the next token
        yield token
        ids = torch.tensor([[token]])


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """Return a token. The choice is made on the CPU, where the same seed draws the same numbers on any machine."""
    if temperature <= 0:
        return int(logits.argmax())
    top = logits.float().topk(min(TOP, logits.shape[0]))
    chances = torch.softmax(top.values.cpu().double() / temperature, dim=0)
    return int(top.indices[int(torch.multinomial(chances, 1, generator=generator))])
