"""Measures on this machine's card what Easel's memory plan and steps claim, and prints a table for docs/performance.md.

python tools/gpu_check.py                        on the card: below eight minutes, no download, weights are random
python tools/gpu_check.py --device cpu --small   the same checks with small models, on the processor

It exits with 1 when a check fails. Checks that the card has no room for, or that no time is left for, are said to be left
out.
"""

from __future__ import annotations

import argparse
import gc
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import numpy as np
import psutil
import torch
from PIL import Image as Pillow

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine import catalogue  # noqa: E402 - the tool runs from any folder
from engine.contract import EngineError, Image, OutOfMemory, Preview, Recipe  # noqa: E402
from engine.diffusion.decoding import side_stream  # noqa: E402
from engine.diffusion.device import release, title  # noqa: E402
from engine.diffusion.executor import StepExecutor  # noqa: E402
from engine.diffusion.image_encoder import ImageEncoder  # noqa: E402
from engine.diffusion.loader import Loader  # noqa: E402
from engine.diffusion.memory import w8a8  # noqa: E402
from engine.diffusion.memory.apply import quantise_linear  # noqa: E402
from engine.diffusion.memory.probe import probe_device  # noqa: E402
from engine.diffusion.memory.stream import blocks, nbytes, stream  # noqa: E402
from engine.diffusion.model_manager import LoadedModel, ModelManager  # noqa: E402
from engine.diffusion.request_state import RequestState, StepProgress  # noqa: E402
from engine.families.denoise_state import Embedding  # noqa: E402
from engine.families.registry import model_class  # noqa: E402
from engine.families.z_image.spec import demo  # noqa: E402
from engine.spec import ModelSpec  # noqa: E402
from tests.fakes import models, pipelines, published  # noqa: E402

SECONDS = 450.0
"""After this time no further check begins."""

STEPS = 8
_WARM = 2

_FULL: dict[str, tuple[str, str, Any]] = {
    "z_image": ("transformer", "ZImageTransformer2DModel", published.Z_IMAGE),
    "sdxl": ("unet", "UNet2DConditionModel", published.SDXL),
    "sd15": ("unet", "UNet2DConditionModel", published.SD15),
}


class Left(Exception):
    """A check is left out; the message says why."""


@dataclass
class Bench:
    """The device, the size of the models, and what was found.

    Attributes:
        device: The device.
        small: Whether the models are small ones.
        folder: A folder for models.
        rows: What was measured: the check, the figure, and what was expected.
        failed: Whether a check failed.
        until: When no further check begins, in monotonic seconds.
    """

    device: torch.device
    small: bool
    folder: Path
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    failed: bool = False
    until: float = float("inf")

    @property
    def dtype(self) -> torch.dtype:
        """Format in which models compute."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def row(self, check: str, found: str, expected: str = "") -> None:
        """Add a line of the table."""
        self.rows.append((check, found, expected))

    def expect(self, holds: bool, check: str, found: str, expected: str) -> None:
        """Add a line of the table, and fail if it does not hold."""
        self.failed |= not holds
        self.row(check, found if holds else f"**{found}**", expected)

    def wait(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object]) -> float:
        """Return how long a call takes on the device."""
        self.wait()
        began = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - began

    def free(self) -> int:
        """Return the free bytes of the device."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return int(psutil.virtual_memory().available)


class Ends:
    """Keeps how pictures end. Implements ``engine.diffusion.request_state.OutputHandler``."""

    def __init__(self) -> None:
        self.ends: dict[int, Image | EngineError] = {}
        self.shared: list[int] = []

    def is_active(self, _ticket: int) -> bool:
        """See OutputHandler."""
        return True

    def wants_preview(self, _ticket: int) -> bool:
        """See OutputHandler."""
        return False

    def on_step(self, progress: Sequence[StepProgress], _seconds: float) -> None:
        """See OutputHandler."""
        self.shared.append(len(progress))

    def on_preview(self, _ticket: int, _preview: Preview) -> None:
        """See OutputHandler."""

    def on_image(self, ticket: int, image: Image) -> None:
        """See OutputHandler."""
        self.ends[ticket] = image

    def on_failure(self, ticket: int, error: EngineError) -> None:
        """See OutputHandler."""
        self.ends[ticket] = error


class Loads:
    """Keeps which models were loaded, and how long it took. Implements ``LoadListener``."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, float]] = []

    def on_loading(self, spec: ModelSpec) -> None:
        """See LoadListener."""

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        """See LoadListener."""
        if seconds:
            self.loads.append((loaded.spec.profile.name, seconds))

    def on_load_failed(self, _loaded: LoadedModel | None, problem: str) -> None:
        """See LoadListener."""
        raise RuntimeError(problem)

    def on_notice(self, text: str) -> None:
        """See LoadListener."""


class Engine:
    """The engine below its process, on one device."""

    def __init__(
        self, bench: Bench, specs: Sequence[ModelSpec], precision: str = "auto", *, beside: bool = True
    ) -> None:
        loader = Loader(str(bench.device), precision, str(bench.folder), "", lambda *_: None)
        self.ends, self.loads, self.encoder = Ends(), Loads(), ImageEncoder()
        self.manager = ModelManager(specs, loader, self.loads)
        self.stream = side_stream(loader.device) if beside else None
        self.executor = StepExecutor(self.manager, self.ends, self.encoder, loader.device, stream=self.stream)

    def draw(self, *recipes: Recipe) -> list[Image | EngineError]:
        """Draw pictures together; return their ends."""
        first = len(self.ends.ends)
        self.executor.add(RequestState(first + n, recipe) for n, recipe in enumerate(recipes))
        while len(self.executor):
            self.executor.step()
        while len(self.ends.ends) < first + len(recipes):
            time.sleep(0.01)  # the last picture is being encoded
        return [self.ends.ends[first + n] for n in range(len(recipes))]

    def close(self) -> None:
        """Give the memory back."""
        self.manager.unload()
        self.encoder.close()


DEMO = ModelSpec(demo())
RECIPE = Recipe("a", "demo", "a red apple on a table", "", 192, 192, STEPS, 0.0, 1)


def random_module(name: str, config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a model of a published size; every number is small and the same, which is quick to make."""
    with torch.device("meta"):
        made = getattr(diffusers, name)(**config).to(dtype).eval()
    made = made.to_empty(device=device)
    for tensor in (*made.parameters(), *made.buffers()):
        if tensor.is_floating_point():
            tensor.data.fill_(0.01)
    return made.requires_grad_(False)


def pipeline(bench: Bench, family: str) -> Any:
    """Return a pipeline of a family without text encoders, on the device; Left where it has no room."""
    pipe = pipelines.load(models.SMALL[family](bench.folder / family))
    pipe.register_modules(text_encoder=None)
    if hasattr(pipe, "text_encoder_2"):
        pipe.register_modules(text_encoder_2=None)
    if not bench.small:
        part, name, config = _FULL[family]
        needed = 2 * sum(p.numel() for p in random_module(name, config, torch.device("meta"), bench.dtype).parameters())
        if needed + 3 * 2**30 > bench.free():
            raise Left(
                f"{needed / 2**30:.1f} GiB of weights and 3 GiB to work, {bench.free() / 2**30:.1f} GiB are free"
            )
        pipe.register_modules(**{part: random_module(name, config, bench.device, bench.dtype)})
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(bench.device, bench.dtype)


def embedding(bench: Bench, pipe: Any, family: str) -> Embedding:
    """Return a prompt's embedding, of random numbers."""
    denoiser = getattr(pipe, _FULL[family][0])
    width = denoiser.config.get("cap_feat_dim") or denoiser.config.cross_attention_dim
    made = torch.randn(77, width, device=bench.device, dtype=bench.dtype)
    if family != "sdxl":
        return Embedding((made,))
    pooled = denoiser.config.projection_class_embeddings_input_dim - 6 * denoiser.config.addition_time_embed_dim
    return Embedding((made, torch.randn(pooled, device=bench.device, dtype=bench.dtype)))


def bare(pipe: Any, family: str, prompt: Embedding, side: int, steps: int) -> None:
    """Let diffusers draw one picture's latents."""
    more: dict[str, Any] = {"height": side, "width": side, "num_inference_steps": steps, "output_type": "latent"}
    tensor = prompt.tensors[0]
    if family == "z_image":
        pipe(prompt_embeds=[tensor], negative_prompt_embeds=[], guidance_scale=0.0, **more)
        return
    more |= {"prompt_embeds": tensor[None], "negative_prompt_embeds": tensor[None], "guidance_scale": 5.0}
    if family == "sdxl":
        pooled = prompt.tensors[1][None]
        more |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled}
    pipe(**more)


def steps_of_each_family(bench: Bench) -> Iterator[Callable[[], None]]:
    """Yield a check for each family: steps a second, of Easel and of diffusers."""
    for family in models.SMALL:

        def check(family: str = family) -> None:
            pipe = pipeline(bench, family)
            made = model_class(family)(pipe, bench.device)
            prompt = embedding(bench, pipe, family)
            side = 64 if bench.small else {"sd15": 512}.get(family, 1024)
            guidance = 0.0 if family == "z_image" else 5.0
            recipe = Recipe("a", family, "", "", side, side, _WARM + STEPS, guidance, 1)
            state = made.begin(recipe, prompt, prompt if guidance else None)
            with torch.no_grad():
                bench.seconds(lambda: [made.step([state]) for _ in range(_WARM)])
                ours = bench.seconds(lambda: [made.step([state]) for _ in range(STEPS)])
                bare(pipe, family, prompt, side, _WARM)
                theirs = bench.seconds(lambda: bare(pipe, family, prompt, side, STEPS))
            name = f"{family}, {side}x{side}, {str(bench.dtype).removeprefix('torch.')}: steps a second"
            bench.row(name, f"{STEPS / ours:.2f}", f"bare loop {STEPS / theirs:.2f}")

        yield check


COMPILED = ("z_image", ("", "int8 W8A8")), ("sdxl", ("", "int8 W8A8"))
"""What is compiled too, by family; each compilation takes half a minute."""

LONGEST_COMPILATION = 60.0
"""Seconds that must be left for a compilation."""


def eight_bits_of_each_family(bench: Bench) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield a check for each family: steps a second as it is, with weights in int8, and in eight bits (W8A8)."""
    for family in ("z_image",) if bench.small else ("z_image", "sdxl", "sd15"):

        def check(family: str = family) -> None:
            for form in ("", "int8 weights", *(f"{form} W8A8" for form in w8a8.FORMATS)):
                short = form.removesuffix(" W8A8")
                if short in w8a8.FORMATS and short not in able(bench.device):
                    bench.row(f"{family} in {form}", "not on this card", "int8 from 7.5, fp8 from 8.9")
                    continue
                _steps_in(bench, family, form)
                release(bench.device)

        yield f"eight bits of {family}", check


def able(device: torch.device) -> frozenset[str]:
    """Return the formats of eight bits in which a device multiplies; on a processor all are tried."""
    products = probe_device(device).products
    return products if device.type == "cuda" else frozenset(w8a8.FORMATS)


def _steps_in(bench: Bench, family: str, form: str) -> None:
    """Add rows with the steps a second of a family's denoiser, not compiled and compiled."""
    pipe = pipeline(bench, family)
    part = getattr(pipe, _FULL[family][0])
    if form == "int8 weights":
        quantise_linear(part)
    elif form:
        least = 16 if bench.small else w8a8.LEAST_SIDE
        w8a8.convert(part, form.removesuffix(" W8A8"), bench.device, least)
    made = model_class(family)(pipe, bench.device)
    prompt = embedding(bench, pipe, family)
    side = 64 if bench.small else {"sd15": 512}.get(family, 1024)
    guidance = 0.0 if family == "z_image" else 5.0
    recipe = Recipe("a", family, "", "", side, side, 4 * (_WARM + STEPS), guidance, 1)
    state = made.begin(recipe, prompt, prompt if guidance else None)

    def speed() -> str:
        with torch.no_grad():
            bench.seconds(lambda: [made.step([state]) for _ in range(_WARM)])
            return f"{STEPS / bench.seconds(lambda: [made.step([state]) for _ in range(STEPS)]):.2f}"

    name = f"{family} {'in ' + form if form else 'as it is'}: steps a second"
    bench.row(name, speed(), f"{nbytes(part) / 2**20:.1f} MiB of weights")
    if form not in dict(COMPILED).get(family, ()) or (bench.small and not form):
        return
    if time.monotonic() > bench.until - LONGEST_COMPILATION:
        bench.row(f"{name}, compiled", "left out", "no time was left")
        return
    backend = "inductor" if bench.device.type == "cuda" else "aot_eager"
    part.compile_repeated_blocks(backend=backend, dynamic=True)
    bench.row(f"{name}, compiled by {backend}", speed())
    torch.compiler.reset()


def streamed(bench: Bench) -> None:
    """Compare the main memory that streamed weights take with the plan, and time their steps."""
    rss = psutil.Process().memory_info
    gc.collect()
    before = rss().rss
    if bench.small:
        part = pipelines.load(models.SMALL["z_image"](bench.folder / "streamed")).transformer.requires_grad_(False)
        part = part.to(bench.dtype)
    else:
        _, name, config = _FULL["z_image"]
        if psutil.virtual_memory().available < 16 * 2**30:
            raise Left("16 GiB of main memory are not free")
        part = random_module(name, config, torch.device("cpu"), bench.dtype)
    weights, width = nbytes(part), part.config.cap_feat_dim
    found = list(blocks(part))
    stream(part, bench.device)
    gc.collect()
    taken = rss().rss - before
    side = 64 if bench.small else 1024
    latents = [torch.randn(16, 1, side // 8, side // 8, device=bench.device, dtype=bench.dtype)]
    words = [torch.randn(77, width, device=bench.device, dtype=bench.dtype)]
    times = torch.full((1,), 0.5, device=bench.device)
    if bench.device.type == "cuda":
        release(bench.device)
        torch.cuda.reset_peak_memory_stats(bench.device)
    with torch.no_grad():
        bench.seconds(lambda: part(latents, times, words, return_dict=False))
        each = bench.seconds(lambda: [part(latents, times, words, return_dict=False) for _ in range(4)]) / 4
    bench.row(f"streamed Z-Image, {len(found)} blocks: seconds a step", f"{each:.3f}")
    if not bench.small:
        near = abs(taken - weights) < weights / 10
        bench.expect(near, "main memory it takes", f"{taken / 2**30:.2f} GiB", f"{weights / 2**30:.2f} GiB planned")
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(bench.device)
        bench.row("memory of the card while it steps", f"{peak / 2**30:.2f} GiB")


def out_of_memory(bench: Bench) -> None:
    """Let memory run out in a step of eight pictures, and draw again afterwards."""
    engine = Engine(bench, [DEMO])
    try:
        engine.draw(RECIPE)
        family: Any = engine.manager.family(RequestState(0, RECIPE).key)
        step = family.step

        def limited(states: Sequence[Any], **more: Any) -> None:
            if len(states) > 2:  # a processor has no limit of its own
                raise torch.OutOfMemoryError("not enough memory (injected)")
            step(states, **more)

        eight = [replace(RECIPE, id=str(n), seed=n, width=512, height=512) for n in range(8)]
        if bench.device.type == "cuda":
            release(bench.device)
            total = torch.cuda.get_device_properties(bench.device).total_memory
            limit = torch.cuda.memory_reserved(bench.device) + 96 * 2**20
            torch.cuda.set_per_process_memory_fraction(limit / total, bench.device)
        else:
            family.step = limited
        engine.ends.shared.clear()
        ends = engine.draw(*eight)
        if bench.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
        family.step = step
        drawn = sum(isinstance(end, Image) for end in ends)
        named = all(isinstance(end, Image | OutOfMemory) for end in ends)
        (later,) = engine.draw(RECIPE)
        shared = f"{drawn} of 8 drawn, {max(engine.ends.shared, default=0)} shared a step"
        bench.expect(
            named and isinstance(later, Image),
            "out of memory in a step of eight pictures",
            shared,
            "the engine goes on",
        )
    finally:
        engine.close()


def quantised(bench: Bench) -> None:
    """Draw the demo model in int8 and as it is."""
    found = {}
    for precision in ("fp32", "int8"):
        engine = Engine(bench, [DEMO], precision)
        try:
            (end,) = engine.draw(RECIPE)
        finally:
            engine.close()
        if not isinstance(end, Image):
            raise end
        found[precision] = np.asarray(Pillow.open(io.BytesIO(end.data))).astype(float)
    gap = np.abs(found["fp32"] - found["int8"])
    bench.expect(
        bool(0 < gap.mean() < 4),
        "demo model in int8 against fp32, of 255",
        f"mean {gap.mean():.2f}, largest {gap.max():.0f}",
        "0.8 and 5 on a processor at 64x64",
    )


def two_models(bench: Bench) -> None:
    """Draw with two models in turn; both stay on the device."""
    folder = models.small_sd15(bench.folder / "small")
    other = catalogue.specs(str(folder), str(bench.folder), "")[0]
    engine = Engine(bench, [DEMO, other])
    try:
        seconds = []
        for number in range(6):
            name = (DEMO, other)[number % 2].profile.name
            recipe = replace(RECIPE, model=name, width=64, height=64, seed=number)
            seconds.append(bench.seconds(partial(engine.draw, recipe)))
        bench.expect(
            len(engine.loads.loads) == 2,
            "two models in turn, six pictures: loads",
            str(len(engine.loads.loads)),
            f"2; a picture takes {min(seconds[2:]):.2f} s afterwards, the first two {seconds[0]:.2f} and {seconds[1]:.2f} s",
        )
    finally:
        engine.close()


def step_sizes(bench: Bench) -> None:
    """Draw 32 pictures of one size and different lengths, with decodes beside steps and without: the same pictures."""
    side = 64 if bench.small else 512
    count, steps = (6, 2) if bench.small else (32, STEPS)
    recipes = [
        replace(
            RECIPE, id=str(n), seed=n, width=side, height=side, steps=steps + n % 3, prompt="a cat " * (1 + n % 2 * 20)
        )
        for n in range(count)
    ]

    def drawn(*, beside: bool) -> tuple[list[Image], float, int]:
        """Return the pictures, the seconds that they took, and how many share a step in the end."""
        engine = Engine(bench, [DEMO], beside=beside)
        ends: list[Image | EngineError] = []
        try:
            engine.draw(recipes[0])
            seconds = bench.seconds(lambda: ends.extend(engine.draw(*recipes)))
            (shared,) = (n for (_, width, _), n in engine.executor.sizes.items() if width == side)
        finally:
            engine.close()
        return [end for end in ends if isinstance(end, Image)], seconds, shared

    found = {beside: drawn(beside=beside) for beside in (False, True)}
    gaps = [
        np.abs(
            np.asarray(Pillow.open(io.BytesIO(a.data))).astype(int) - np.asarray(Pillow.open(io.BytesIO(b.data)))
        ).max()
        for a, b in zip(found[False][0], found[True][0], strict=True)
    ]
    name = f"{count} pictures of {side}x{side}"
    kinds = "alone {:.2f} s, beside steps {:.2f} s".format(*(found[beside][1] for beside in (False, True)))
    # Steps of other sizes and calls of other lengths round otherwise, most of all in bf16.
    bench.expect(
        len(gaps) == count and max(gaps) <= 16, f"{name}, decoded", kinds, f"they differ by {max(gaps)} of 255"
    )
    bench.row(f"{name} that share a step", str(found[True][2]), f"{catalogue.batch_of(side * side)} at the start")


def checks(bench: Bench) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield all checks with their names, those of most use first."""
    yield "streamed weights", lambda: streamed(bench)
    yield "out of memory", lambda: out_of_memory(bench)
    yield "two models", lambda: two_models(bench)
    yield "int8", lambda: quantised(bench)
    yield "step sizes", lambda: step_sizes(bench)
    for family, check in zip(models.SMALL, steps_of_each_family(bench), strict=True):
        yield f"steps of {family}", check
    yield from eight_bits_of_each_family(bench)


def run(bench: Bench, seconds: float, only: str = "") -> None:
    """Run all checks, or those with ``only`` in their names. A failure is a line of the table and stops no other check."""
    bench.until = time.monotonic() + seconds
    for name, check in checks(bench):
        if only not in name:
            continue
        if time.monotonic() > bench.until:
            bench.row(name, "left out", "no time was left")
            continue
        try:
            check()
        except Left as why:
            bench.row(name, "left out", str(why))
        except Exception as error:  # noqa: BLE001 - of whatever kind, the other checks are of use
            bench.failed = True
            text = " ".join(str(error).split())[:200].replace("|", "/")
            bench.row(name, f"**failed**: {type(error).__name__}", text)
        release(bench.device)


def table(bench: Bench) -> Iterator[str]:
    """Yield the lines of the table."""
    kind = "small models" if bench.small else "published sizes, random weights"
    yield f"{title(bench.device)}, PyTorch {torch.__version__}, {kind}"
    yield ""
    yield "| check | measured | expected |"
    yield "| --- | --- | --- |"
    for check, found, expected in bench.rows:
        yield f"| {check} | {found} | {expected} |"


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, cuda:1 or cpu")
    parser.add_argument("--small", action="store_true", help="small models only, as the tests have them")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no check begins after this time")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the checks with TEXT in their names")
    options = parser.parse_args()
    if options.small:
        torch.set_num_threads(1)  # threads cost small models more than they gain
    with TemporaryDirectory(prefix="easel-") as folder:
        bench = Bench(torch.device(options.device), options.small, Path(folder))
        run(bench, options.seconds, options.only)
    print("\n".join(table(bench)))
    return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
