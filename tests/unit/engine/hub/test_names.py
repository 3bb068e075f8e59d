from __future__ import annotations

import pytest

from engine.hub.names import is_repo, split_file


@pytest.mark.parametrize(
    "text", ["Tongyi-MAI/Z-Image-Turbo", "a/b", "stabilityai/stable-diffusion-xl-base-1.0", "1_a/b_2"]
)
def test_ids(text: str) -> None:
    assert is_repo(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "a/b/c",
        "/a/b",
        "a/",
        "/b",
        "../b",
        "a/..",
        "./b",
        "~/b",
        "a b/c",
        "a--b/c",
        "a/b.",
        "é/b",
        "C:/b",
        "a/" + "b" * 96,
    ],
)
def test_what_is_none(text: str) -> None:
    assert not is_repo(text)


def test_files() -> None:
    assert split_file("a/b/c.safetensors") == ("a/b", "c.safetensors")
    assert split_file("a/b/c/d.Q4_0.gguf") == ("a/b", "c/d.Q4_0.gguf")


@pytest.mark.parametrize(
    "text",
    [
        "a/b",
        "a/b/c.ckpt",
        "/a/b/c.gguf",
        "a/b/../c.gguf",
        "a/b//c.gguf",
        "a/b/./c.gguf",
        "../b/c.gguf",
        "c.gguf",
        "~/b/c.gguf",
    ],
)
def test_what_is_no_file_of_a_hub(text: str) -> None:
    assert split_file(text) is None
