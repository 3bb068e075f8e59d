"""Brings a model's files from the hub, saying how many bytes have come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

FILES = ("model_index.json", "*/*.json", "*/*.jinja", "*/*.txt", "*/*.model", "*/*.safetensors")
"""What a pipeline is loaded from: no pickles, no code, no pictures."""

Report = Callable[[int, int], None]
"""Takes the bytes that have come and the bytes in all (0: unknown)."""


class CantFetch(Exception):
    """The files can't be had; the message is one sentence. ``passing``: they may be had later, as things are."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


def fetch(repo: str, models_dir: str, report: Report) -> str:
    """Return the folder of the hub's pipeline ``repo``, downloading what is missing; raises CantFetch.

    ``HF_HOME`` and ``HF_HUB_CACHE`` win over ``models_dir``: who sets them has models there already.
    """
    own_cache = any(os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE"))
    try:
        return snapshot_download(
            repo,
            cache_dir=None if own_cache else models_dir,
            allow_patterns=list(FILES),
            tqdm_class=_bar(report),
        )
    except (RepositoryNotFoundError, GatedRepoError) as e:
        kind = "asks for a licence to be accepted" if isinstance(e, GatedRepoError) else "has no such model"
        raise CantFetch(f"The hub {kind}: {repo}; check EASEL_MODEL and HF_TOKEN.", passing=False) from e
    except LocalEntryNotFoundError as e:
        raise CantFetch(
            f"The model {repo} is not here and its hub can't be reached; check the network, HF_ENDPOINT and HTTPS_PROXY.",
            passing=True,
        ) from e
    except Exception as e:  # the hub's client, its transports and the disk have no common exception
        raise CantFetch(f"The model {repo} can't be downloaded ({type(e).__name__}: {e}).", passing=True) from e


def _bar(report: Report) -> type[tqdm]:
    """Return a progress bar class that draws nothing and reports its bytes, at most twice a second."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._bytes = kwargs.get("unit") == "B" and kwargs.get("name") == "huggingface_hub.snapshot_download"
            self._seen = 0
            self._reported = 0.0
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # the library leaves it untyped

        def update(self, n: float | None = 1) -> bool | None:
            if self._bytes:
                self._seen += int(n or 0)
                if time.monotonic() - self._reported > 0.5:
                    self._reported = time.monotonic()
                    report(self._seen, int(self.total or 0))
            return super().update(n)

    return Bar
