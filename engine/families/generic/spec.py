"""The generic family: any diffusers pipeline that can be paused between two steps, and what is known of some of them.

A folder's small files and the source of the installed diffusers say what a pipeline is: its parts are those of
``model_index.json``, its arguments are those of ``__call__``. ``models.py`` holds what neither says; a class that is not there
is drawn with the defaults of ``arguments.unknown``. Classes of other families never come here: the registry asks those
first.

Memory is planned with the parameters of a model's files; the activations are those of a transformer of that size, half
as many again, for the picture and all references together.
"""

from __future__ import annotations

import re
from datetime import date
from functools import partial

from engine.families.generic.describe import describe
from engine.families.generic.models import MODELS, NAME, PIPELINES
from engine.families.spec import FamilySpec, Footprint, WeightKeys

_NEVER = re.compile(r"(?!)")

SPEC = FamilySpec(
    name=NAME,
    title="another diffusers pipeline",
    released=date.min,  # listed behind all others
    model_class="Generic",
    pipelines=(),
    parts={},
    denoiser="transformer",
    native_side=1024,
    native_side_key=("vae", "sample_size"),
    multiple=16,
    # Nothing is recognised by the names of its tensors.
    keys=WeightKeys(
        pattern=_NEVER, layers="(?!)", width_pattern=_NEVER, width_key="", architecture="another diffusers pipeline"
    ),
    footprint=Footprint(
        parameters={"transformer": 6_154_908_736, "text_encoder": 4_022_468_096, "vae": 83_819_683},
        token_side=16,
        prompt_tokens=512,
        activations=91_200,
        attention_heads=30,
        attention_side=16,
        linear_share={"transformer": 0.99, "unet": 0.85, "text_encoder": 0.9},
        largest_layer=60_000_000,
        block_pair=536_870_912,
        text_pair=1_000_000_000,
        text_activations=200_000_000,
        fp16=False,
        vae_fp16=False,
        casts=False,
    ),
    models=MODELS,
    describe=partial(describe, PIPELINES),
)
