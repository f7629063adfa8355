# SPDX-License-Identifier: Apache-2.0
"""The cache of generate(): what transformers' own holds, and a token does not copy the others."""

import copy

import pytest

pytest.importorskip("transformers")

import tiny_models
import torch
from regard._hf.growing import GrowingLayer
from transformers.cache_utils import DynamicLayer


def _rows(count, batch=3):
    return torch.randn(batch, 2, count, 8), torch.randn(batch, 2, count, 8)


def _both():
    """A function that calls both layers, and what they hold."""
    layers = GrowingLayer(), DynamicLayer()

    def do(name, *arguments):
        found = [getattr(x, name)(*arguments) for x in layers]
        assert torch.equal(layers[0].keys, layers[1].keys)
        assert torch.equal(layers[0].values, layers[1].values)
        assert layers[0].get_seq_length() == layers[1].get_seq_length()
        if name == "update":
            assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])

    return layers[0], do


def test_it_holds_what_transformers_holds():
    ours, do = _both()
    do("update", *_rows(5))
    for _ in range(200):  # past several times its room
        do("update", *_rows(1))
    do("reorder_cache", torch.tensor([2, 2, 0]))
    do("update", *_rows(1))
    do("crop", -3)
    do("update", *_rows(2))
    do("batch_repeat_interleave", 2)
    do("update", *_rows(1, 6))
    do("batch_select_indices", torch.tensor([0, 5]))
    do("update", *_rows(1, 2))
    kept = copy.deepcopy(ours)
    do("update", *_rows(1, 2))
    assert kept.get_seq_length() == ours.get_seq_length() - 1
    kept.update(*_rows(1, 2))
    assert not torch.equal(kept.keys, ours.keys)
    assert torch.equal(kept.keys[:, :, :-1], ours.keys[:, :, :-1])


def test_a_token_copies_nothing_that_is_there():
    ours, do = _both()
    do("update", *_rows(300))
    begin = ours.keys.data_ptr()
    for _ in range(60):
        do("update", *_rows(1))
    do("crop", -7)
    do("update", *_rows(1))
    assert ours.keys.data_ptr() == begin


def test_after_inference_mode_and_with_gradients():
    ours = GrowingLayer()
    with torch.inference_mode():
        ours.update(*_rows(4))
    with torch.no_grad():
        keys, _ = ours.update(*_rows(1))
    assert keys.shape[-2] == 5
    new = _rows(1)
    new[0].requires_grad_()
    keys, _ = ours.update(*new)
    keys.sum().backward()
    assert bool((new[0].grad == 1).all())


def test_generate_makes_it_for_regard_alone():
    eager, ours = tiny_models.twins(tiny_models.llama, torch.float32)
    ids = tiny_models.ids(2, 5)
    options = dict(max_new_tokens=3, do_sample=False, return_dict_in_generate=True, pad_token_id=0)
    layers = [
        {type(x) for x in model.eval().generate(ids, **options).past_key_values.layers}
        for model in (eager, ours)
    ]
    assert layers == [{DynamicLayer}, {GrowingLayer}]
