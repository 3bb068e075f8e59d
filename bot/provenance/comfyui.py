"""ComfyUI's JSON in pictures: finds the sampler that drew the picture, and its prompt, model, size and numbers.

``prompt`` holds the executed graph: nodes by id, with inputs that are values or links ``[node, output]``. ``workflow``
holds the editor's graph, whose values stand without names; it is read where there is no ``prompt``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from pydantic_core import from_json

from bot.core.pictures import ReadParameters

MAX_NODES = 2_000
"""Most nodes of a graph that are read; the largest published workflows have about 500."""

MAX_STEPS = 100
"""Most nodes on the way to a prompt, a model or a value."""

_MAX_ENDS = 20
"""Most nodes that save or show pictures from which the sampler is looked for."""

_MAX_WHOLE = 2**64
"""ComfyUI's seeds are below this."""

MAX_CHARS = 20_000
"""Longest prompt that is returned, in characters."""

_WIDGETS = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "RandomNoise": ("noise_seed",),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "LoadImage": ("image",),
}
"""Names of the values of common nodes in the editor's graph; empty for values that are not read."""

_SEEDS = ("seed", "noise_seed", "noise")
_TEXTS = (
    "text",
    "prompt",
    "text_g",
    "clip_l",
    "t5xxl",
    "positive",
    "string",
    "value",
    "text_l",
    "string_a",
    "string_b",
)
_CONDITIONS = (
    "conditioning",
    "conditioning_1",
    "conditioning_2",
    "conditioning_to",
    "conditioning_from",
    "positive",
    "base_positive",
)
_MODELS = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name", "gguf_name")
_NUMBERS = ("value", "int", "float", "number", "seed", "width", "height")

Inputs = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Node:
    kind: str
    inputs: Inputs = field(default_factory=dict)


def parse(prompt: str, workflow: str = "") -> ReadParameters | None:
    """Return what the JSON tells; None if it is no graph, or has no sampler.

    Args:
        prompt: The executed graph; may be empty.
        workflow: The editor's graph; may be empty.
    """
    nodes = _executed(_object(prompt)) or _edited(_object(workflow))
    graph = _Graph(nodes)
    last = graph.last_sampler()
    if last is None:
        return None
    # The pass that begins from empty noise has the seed and size; later ones only refine it.
    first, start = graph.first_pass(last)
    sampler = nodes[first]
    guided = graph.guider(first)
    loras, model = graph.model(guided)
    positive, negative = (graph.text(guided, name) for name in ("positive", "negative"))
    sigmas = graph.linked(sampler, "sigmas") or sampler
    denoise = _decimal(graph.value(sampler, "denoise") or graph.value(sigmas, "denoise"))
    begins_with_image = start is not None and _has(start, "pixels")
    empty = start if start is not None and not begins_with_image else _Node("")
    sampler_name = graph.value(sampler, "sampler_name")
    if sampler_name is None and (chosen := graph.linked(sampler, "sampler")) is not None:
        sampler_name = graph.value(chosen, "sampler_name")
    guidance = graph.guidance(guided)
    return ReadParameters(
        tool="ComfyUI",
        prompt=positive or graph.text(guided, "conditioning"),
        negative=negative,
        width=_side(graph.value(empty, "width")),
        height=_side(graph.value(empty, "height")),
        steps=_whole(graph.value(sampler, "steps") or graph.value(sigmas, "steps")),
        guidance=guidance if guidance is not None else _decimal(graph.value(nodes[guided], "cfg")),
        seed=graph.seed(sampler),
        sampler=_sampler(sampler_name, graph.value(sampler, "scheduler") or graph.value(sigmas, "scheduler")),
        model=model,
        loras=tuple(loras),
        strength=denoise if begins_with_image else None,
        enlarged=first != last,
        controlled=any(node.kind.startswith("ControlNetApply") for node in nodes.values()),
        masked=any("Inpaint" in node.kind for node in nodes.values()),
        text=prompt or workflow,
    )


class _Graph:
    """The nodes of a graph, and walks along their links against the flow. No walk visits a node twice."""

    def __init__(self, nodes: Mapping[str, _Node]) -> None:
        self._nodes = nodes

    def last_sampler(self) -> str | None:
        """Return the sampler nearest to a node that saves or shows pictures; any sampler where none leads to one."""
        ends = [one for one, node in self._nodes.items() if node.kind.startswith(("Save", "Preview", "Image Save"))]
        for end in ends[:_MAX_ENDS]:
            for one in self._above(end):
                if self._is_sampler(one):
                    return one
        return next((one for one in self._nodes if self._is_sampler(one)), None)

    def _is_sampler(self, one: str) -> bool:
        inputs = self._nodes[one].inputs
        guided = "model" in inputs or "guider" in inputs or "positive" in inputs
        return guided and ("latent_image" in inputs or "sampler_name" in inputs) and self._has_seed(inputs)

    @staticmethod
    def _has_seed(inputs: Inputs) -> bool:
        return any(name in inputs for name in _SEEDS)

    def first_pass(self, last: str) -> tuple[str, _Node | None]:
        """Return the sampler that begins the picture, and the node of its empty latent or of its start picture."""
        first, begins = last, None
        for one in self._above(last, ("latent_image", "samples", "latent", "pixels", "image", "images")):
            if self._is_sampler(one):
                first, begins = one, None
            elif begins is None and (_has(self._nodes[one], "width", "height") or _has(self._nodes[one], "pixels")):
                begins = self._nodes[one]
        return first, begins

    def guider(self, sampler: str) -> str:
        """Return the node that has the prompts and the model: the sampler, or its guider."""
        link = _link(self._nodes[sampler].inputs.get("guider"))
        return link[0] if link is not None and link[0] in self._nodes else sampler

    def guidance(self, guided: str) -> float | None:
        """Return the guidance that a node adds to the prompt, as for Flux; None if there is none."""
        for name in ("positive", "conditioning"):
            for one in self._follow(guided, name, _CONDITIONS):
                if (found := _decimal(self.value(self._nodes[one], "guidance"))) is not None:
                    return found
        return None

    def model(self, guided: str) -> tuple[list[tuple[str, float]], str]:
        """Return the LoRAs on the way to the model, nearest to it first, and the model's file name."""
        loras: list[tuple[str, float]] = []
        for one in self._follow(guided, "model", ("model",)):
            node = self._nodes[one]
            loras = [*_loras(node), *loras]
            for name in _MODELS:
                if isinstance(found := node.inputs.get(name), str) and found:
                    return loras, base_name(found)
        return loras, ""

    def text(self, guided: str, name: str) -> str:
        """Return the words of a condition; several are joined by commas."""
        nodes = self._follow(guided, name, _CONDITIONS)
        found = dict.fromkeys(text for one in nodes for text in self._texts(one))
        return ", ".join(found)[:MAX_CHARS]

    def _texts(self, one: str) -> list[str]:
        node = self._nodes[one]
        if node.kind == "ConditioningZeroOut":
            return []
        own: list[str] = []
        for name in _TEXTS:
            value = node.inputs.get(name)
            if isinstance(value, str) and value.strip():
                own.append(value.strip())
            elif name not in _CONDITIONS and (link := _link(value)) is not None:
                # Words that another node makes.
                walk = islice(self._above(link[0], _TEXTS, itself=True), MAX_STEPS)
                own += [text for other in walk for text in _strings(self._nodes[other])]
        return own

    def seed(self, sampler: _Node) -> int | None:
        """Return the seed of a sampler or of its noise."""
        for name in _SEEDS:
            if (found := _whole(self.value(sampler, name))) is not None:
                return found
        noise = self.linked(sampler, "noise")
        return None if noise is None else _whole(self.value(noise, "noise_seed") or self.value(noise, "seed"))

    def linked(self, node: _Node, name: str) -> _Node | None:
        """Return the node that an input is linked to."""
        link = _link(node.inputs.get(name))
        return None if link is None else self._nodes.get(link[0])

    def value(self, node: _Node, name: str) -> object:
        """Return an input's value; that of a linked node which only holds a value; None if there is none."""
        value = node.inputs.get(name)
        link = _link(value)
        if link is None:
            return value
        for one in islice(self._above(link[0], _NUMBERS, itself=True), MAX_STEPS):
            inputs = self._nodes[one].inputs
            for other in (name, *_NUMBERS):
                if isinstance(found := inputs.get(other), int | float | str):
                    return found
        return None

    def _above(self, one: str, names: tuple[str, ...] = (), *, itself: bool = False) -> Iterator[str]:
        """Yield the nodes that a node is made from, nearest first; by inputs of these names, or by all."""
        seen, level = {one}, [one]
        if itself and one in self._nodes:
            yield one
        while level:
            below, level = level, []
            for each in below:
                node = self._nodes.get(each)
                for name, value in ({} if node is None else node.inputs).items():
                    link = _link(value)
                    if link is None or (names and name not in names) or link[0] in seen or link[0] not in self._nodes:
                        continue
                    seen.add(link[0])
                    level.append(link[0])
                    yield link[0]

    def _follow(self, one: str, name: str, through: tuple[str, ...]) -> Iterator[str]:
        """Yield the nodes behind an input, through inputs of these names.

        A node with both a positive and a negative input passes each on by its own output.
        """
        seen: set[tuple[str, int]] = set()
        links = [_link(self._nodes[one].inputs.get(name))]
        while links and len(seen) < MAX_STEPS:
            link = links.pop(0)
            if link is None or link in seen or link[0] not in self._nodes:
                continue
            seen.add(link)
            inputs = self._nodes[link[0]].inputs
            yield link[0]
            if "positive" in inputs and "negative" in inputs:
                links.append(_link(inputs["negative" if link[1] == 1 else "positive"]))
            elif self._nodes[link[0]].kind != "ConditioningZeroOut":
                links += [_link(inputs.get(each)) for each in through]


def _object(text: str) -> Mapping[str, object]:
    """Parse a JSON object, with NaN as ComfyUI writes it; empty if it is none or nested more than 200 levels deep."""
    try:
        found = from_json(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _executed(graph: Mapping[str, object]) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for one, node in graph.items():
        if len(nodes) < MAX_NODES and isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            nodes[one] = _Node(_kind(node.get("class_type")), node["inputs"])
    return nodes


def _edited(graph: Mapping[str, object]) -> dict[str, _Node]:
    """Return the editor's graph as an executed one; nodes that are muted or bypassed are left out."""
    listed, links = graph.get("nodes"), graph.get("links")
    if not isinstance(listed, list) or not isinstance(links, list):
        return {}
    ends = {_key(one[0]): [one[1], one[2]] for one in links if isinstance(one, list) and len(one) >= 3}
    nodes: dict[str, _Node] = {}
    for node in listed[:MAX_NODES]:
        if not isinstance(node, dict) or node.get("mode") in (2, 4):
            continue
        kind, inputs = _kind(node.get("type")), dict[str, object]()
        values = node.get("widgets_values")
        if isinstance(values, list):
            inputs = {name: value for name, value in zip(_WIDGETS.get(kind, ()), values, strict=False) if name}
        elif isinstance(values, dict):
            inputs = {name: value for name, value in values.items() if isinstance(name, str)}
        sockets = node.get("inputs")
        for socket in sockets if isinstance(sockets, list) else []:
            if isinstance(socket, dict) and (end := ends.get(_key(socket.get("link")))) is not None:
                inputs[_kind(socket.get("name"))] = end
        nodes[_name(node.get("id")) or ""] = _Node(kind, inputs)
    return nodes


def _kind(value: object) -> str:
    return value if isinstance(value, str) else ""


def _key(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _link(value: object) -> tuple[str, int] | None:
    """Return node and output of a link; None if the value is none."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    node = _name(value[0])
    return None if node is None else (node, value[1] if isinstance(value[1], int) else 0)


def _name(value: object) -> str | None:
    """Return a node's id as text; None if it is none."""
    # Python writes out no integer of more than 4,300 digits.
    if isinstance(value, int) and abs(value) < _MAX_WHOLE:
        return str(value)
    return value if isinstance(value, str) else None


def _has(node: _Node, *names: str) -> bool:
    return all(name in node.inputs for name in names)


def _strings(node: _Node) -> list[str]:
    return [v.strip() for name in _TEXTS if isinstance(v := node.inputs.get(name), str) and v.strip()]


def _loras(node: _Node) -> list[tuple[str, float]]:
    """Return the LoRAs that a node adds: one of ComfyUI's own, or a list as rgthree's has it."""
    inputs = node.inputs
    if isinstance(name := inputs.get("lora_name"), str) and name not in {"", "None"}:
        weight = _decimal(inputs.get("strength_model", inputs.get("lora_wt")))
        return [(base_name(name), 1.0 if weight is None else weight)]
    found: list[tuple[str, float]] = []
    for each in inputs.values():
        if isinstance(each, dict) and each.get("on") and isinstance(name := each.get("lora"), str):
            weight = _decimal(each.get("strength"))
            found.append((base_name(name), 1.0 if weight is None else weight))
    return found


def base_name(file: str) -> str:
    """Return a file's name without its folders (of any system) and its suffix."""
    name = file.replace("\\", "/").rpartition("/")[2]
    stem, _, suffix = name.rpartition(".")
    return stem if suffix.lower() in {"safetensors", "ckpt", "pt", "sft", "gguf", "bin"} and stem else name


def _sampler(name: object, scheduler: object) -> str:
    """Return the sampler as A1111 joins it with its noise schedule."""
    if not isinstance(name, str):
        return ""
    return f"{name} Karras" if scheduler == "karras" else name


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN is in no range.
    if not -_MAX_WHOLE < value < _MAX_WHOLE or value != int(value):
        return None
    return int(value)


def _side(value: object) -> int | None:
    side = _whole(value)
    return side if side is not None and 0 < side < 10**6 else None


def _decimal(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 10**6 else None
