# SPDX-License-Identifier: Apache-2.0
"""generate() writes eager's tokens whatever its caches and its ways of searching: chunks of the
prompt, static caches, beams, guesses that are verified; with padding on the left and without."""

import pytest
import torch

pytest.importorskip("transformers")

import regard.transformers  # noqa: F401
from tiny_models import CASES, padding, twins

WAYS = {
    "chunks": dict(prefill_chunk_size=4),
    "static": dict(cache_implementation="static", disable_compile=True),
    "static chunks": dict(
        cache_implementation="static", disable_compile=True, prefill_chunk_size=4
    ),
    "beams": dict(num_beams=3),
    "guesses": dict(prompt_lookup_num_tokens=2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt-oss", "gemma2", "t5"])
def test_the_same_tokens(name, way):
    make, draw = CASES[name]
    eager, ours = twins(make, torch.float32)
    ids = draw()["input_ids"]
    rows = 1 if way == "guesses" else len(ids)
    options = dict(max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None)
    for mask in (torch.ones_like(ids), padding("left")):
        inputs = dict(input_ids=ids[:rows], attention_mask=mask[-rows:])
        expected = eager.eval().generate(**inputs, **options, **WAYS[way])
        actual = ours.eval().generate(**inputs, **options, **WAYS[way])
        assert torch.equal(actual, expected)
