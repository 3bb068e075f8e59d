"""Requests that every surface refuses, and what the refusal says in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class BadRequest(NamedTuple):
    """A request that is refused before anything of it is stored.

    Attributes:
        what: A name for messages of failed tests.
        prompt: What is typed as the prompt; flags may stand in it.
        fields: Further options by name, as text.
        key: The refusal's key in the catalogues.
        english: Words that the English sentence has. ``{most}`` is the surface's largest count.
        chinese: Words that the Chinese sentence has.
    """

    what: str
    prompt: str
    fields: Mapping[str, str]
    key: str
    english: str
    chinese: str

    @property
    def typed(self) -> str:
        """The request as one line with flags."""
        return " ".join([self.prompt, *(f"--{name} {value}" for name, value in self.fields.items())])

    def words(self, language: str, *, most: int) -> str:
        """Return what the sentence says in ``en`` or ``zh``, where at most ``most`` pictures can be requested."""
        return (self.english if language == "en" else self.chinese).format(most=most)


def _cat(what: str, name: str, value: str, key: str, english: str, chinese: str) -> BadRequest:
    return BadRequest(what, "a cat", {name: value}, key, english, chinese)


BAD_REQUESTS = (
    BadRequest("no prompt", "", {}, "refusal.prompt.empty", "no prompt", "没有提示词"),
    BadRequest("blank prompt", " \n\t　", {}, "refusal.prompt.empty", "no prompt", "没有提示词"),
    BadRequest("nothing but flags", "--seed 7", {}, "refusal.prompt.empty", "no prompt", "没有提示词"),
    BadRequest("2,500 characters", "a" * 2500, {}, "refusal.prompt.too_long", "2500 characters", "2500 个字符"),
    BadRequest("2,500 Chinese ones", "猫" * 2500, {}, "refusal.prompt.too_long", "takes 2000", "2000 个"),
    BadRequest("unknown flag", "a cat --sede 7", {}, "refusal.flag.unknown", "did you mean --seed?", "--seed"),
    BadRequest("flag of a phone", "a cat —count 99", {}, "refusal.count.range", "1 to {most}", "1 到 {most}"),
    _cat("off the grid", "size", "200x200", "refusal.size.off_grid", "try 192x192", "192x192"),
    _cat("too small", "size", "16x16", "refusal.size.too_small", "try 64x64", "64x64"),
    _cat("too large", "size", "4096x4096", "refusal.size.too_large", "try 512x512", "512x512"),
    _cat("no size", "size", "big", "refusal.size.not_understood", "“big” is not a size", "“big”"),
    _cat("count 0", "count", "0", "refusal.count.range", "1 to {most}", "1 到 {most}"),
    _cat("count 17", "count", "17", "refusal.count.range", "1 to {most}", "1 到 {most}"),
    _cat("count 99", "count", "99", "refusal.count.range", "1 to {most}", "1 到 {most}"),
    _cat("count that is none", "count", "many", "refusal.count.not_number", "“many”", "“many”"),
    _cat("negative seed", "seed", "-2", "refusal.seed.range", "-2 is out", "-2 超出"),
    _cat("seed 2^63", "seed", str(2**63), "refusal.seed.range", str(2**63), str(2**63)),
    _cat("endless seed", "seed", "9" * 1500, "refusal.seed.range", "9…", "9…"),
    _cat("seed that is none", "seed", "seven", "refusal.seed.not_number", "“seven”", "“seven”"),
    _cat("no steps", "steps", "0", "refusal.steps.range", "1 to 50", "1 到 50"),
    _cat("many steps", "steps", "999", "refusal.steps.range", "999 steps", "999"),
    _cat("steps that are none", "steps", "1.5", "refusal.steps.not_number", "“1.5”", "“1.5”"),
    _cat("guidance", "guidance", "50", "refusal.guidance.range", "0 to 5", "0 到 5"),
    _cat("guidance of none", "guidance", "nan", "refusal.guidance.not_number", "“nan”", "“nan”"),
    _cat("model", "model", "nope", "refusal.model.unknown", "Easel has demo", "demo"),
    _cat("style", "style", "inkk", "refusal.style.unknown", "did you mean", "你是想用"),
    _cat("LoRA where there are none", "lora", "nope:0.8", "refusal.lora.none", "no LoRA “nope”", "没有“nope”"),
    BadRequest("A1111's tag", "a cat <lora:nope:1>", {}, "refusal.lora.none", "no LoRA “nope”", "没有“nope”"),
    _cat("a path for a model", "model", "../../etc", "refusal.model.unknown", "../../etc", "../../"),
)
