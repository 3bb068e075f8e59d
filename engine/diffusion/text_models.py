"""The models of EASEL_TEXT_MODEL and EASEL_CAPTION_MODEL: loaded on first use, and unloaded when there is no work for long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from engine import text_folder, weights
from engine.contract import CannotWrite, EngineConfig, EngineError, OutOfMemory
from engine.diffusion import device as devices
from engine.diffusion.errors import first_line, is_out_of_memory
from engine.diffusion.init_image import read_picture
from engine.families.language_model import LanguageModel

CAPTION_TOKENS = 48
"""Most tokens of a description."""

CAPTION_SIDE = 1024
"""Longest side of a picture in pixels that is described; captioners look at 224 to 480."""

_BEAT = 5.0
"""Seconds between two signs of life while a model is loaded."""


class TextModels:
    """The operator's models for texts, each on the device from its first use on.

    Args:
        config: Names them.
        device: Where they work.
        beat: Tells the parent that the process does not hang.
    """

    def __init__(self, config: EngineConfig, device: torch.device, beat: Callable[[], None]) -> None:
        self._config = config
        self._device = device
        self._beat = beat
        self._writer: LanguageModel | None = None
        self._captioner: tuple[Any, Any, Any] | None = None

    @property
    def loaded(self) -> bool:
        """Whether one of them is on the device."""
        return self._writer is not None or self._captioner is not None

    @property
    def nbytes(self) -> int:
        """Bytes of the device that both take once they are loaded. Raises EngineError where a setting names no model."""
        found = (self._folder(text_folder.TEXT), self._folder(text_folder.CAPTION))
        return sum(self._dtype.itemsize * weights.parameters(folder) for folder in found if folder is not None)

    @property
    def writes(self) -> bool:
        """Whether there is a language model of its own, so that no text encoder is asked to write."""
        return bool(self._config.text_model)

    def writer(self) -> LanguageModel:
        """Return the language model. Raises EngineError if it can't be loaded."""
        if self._writer is None:
            import transformers  # noqa: PLC0415  # its classes are looked up lazily

            folder = self._folder(text_folder.TEXT)
            assert folder is not None
            with self._loading(text_folder.TEXT, folder) as settings:
                module = transformers.AutoModelForCausalLM.from_pretrained(folder, **settings)
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                self._writer = LanguageModel(module.to(self._device).eval(), tokenizer, self._device)
        return self._writer

    def describe(self, path: str, stopped: Callable[[], bool]) -> str:
        """Return what a picture shows, as the captioner words it.

        Args:
            path: The picture's file.
            stopped: Asked after each token whether nobody wants the text any more.

        Raises:
            BadImage: The picture can't be read.
            EngineError: There is no captioner, or it can't be loaded.
        """
        picture = read_picture(path)
        picture.thumbnail((CAPTION_SIDE, CAPTION_SIDE))
        module, images, tokenizer = self._loaded_captioner()
        import transformers  # noqa: PLC0415  # its classes are looked up lazily

        def ends(ids: torch.Tensor, _scores: Any, **_more: Any) -> torch.Tensor:
            self._beat()
            return torch.full((1,), stopped(), device=ids.device)

        pixels = images(images=picture, return_tensors="pt")["pixel_values"].to(self._device, self._dtype)
        with torch.no_grad():
            found = module.generate(
                pixel_values=pixels,
                max_new_tokens=CAPTION_TOKENS,
                do_sample=False,
                num_beams=1,
                stopping_criteria=transformers.StoppingCriteriaList([ends]),
            )
        text: str = tokenizer.decode(found[0], skip_special_tokens=True)
        return text

    def unload(self) -> None:
        """Give their memory back; the next text loads its model again."""
        if self.loaded:
            self._writer = self._captioner = None
            devices.release(self._device)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self._device.type == "cuda" else torch.float32

    def _folder(self, setting: str) -> Path | None:
        source = self._config.text_model if setting == text_folder.TEXT else self._config.caption_model
        return text_folder.locate(setting, source, self._config.models_dir) if source else None

    def _loaded_captioner(self) -> tuple[Any, Any, Any]:
        if self._captioner is None:
            import transformers  # noqa: PLC0415  # its classes are looked up lazily

            folder = self._folder(text_folder.CAPTION)
            if folder is None:
                raise CannotWrite("No model describes pictures: set EASEL_CAPTION_MODEL to the folder of one.")
            with self._loading(text_folder.CAPTION, folder) as settings:
                module = transformers.AutoModelForImageTextToText.from_pretrained(folder, **settings)
                images = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                self._captioner = (module.to(self._device).eval(), images, tokenizer)
        return self._captioner

    @contextmanager
    def _loading(self, setting: str, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the arguments of ``from_pretrained``; other errors become one sentence, and signs of life are sent."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(_BEAT):
                self._beat()

        beating = threading.Thread(target=beat, name="beat", daemon=True)
        beating.start()
        transformers_logging.disable_progress_bar()
        try:
            yield {
                "dtype": self._dtype,
                "local_files_only": True,
                "use_safetensors": True,
                "trust_remote_code": False,
            }
        except (EngineError, torch.AcceleratorError):
            raise
        except Exception as e:  # noqa: BLE001  # whatever a file makes transformers raise
            if is_out_of_memory(e):
                raise OutOfMemory(f"{setting}: {folder} does not fit the device's memory beside the model.") from None
            why = f"{type(e).__name__}: {first_line(e)}".rstrip(".")
            raise CannotWrite(f"{setting}: {folder} can't be loaded ({why}); look at its files.") from None
        finally:
            done.set()
            beating.join()
