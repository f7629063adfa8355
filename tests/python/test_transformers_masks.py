# SPDX-License-Identifier: Apache-2.0
"""The mask that models carry: to their code the boolean tensor that it stands for, built only when
they look at it; added to scores it hides what it hides."""

import copy
import pickle

import pytest
import torch

pytest.importorskip("transformers")

import regard.transformers
from regard._hf import masks as hf_masks
from regard._hf.carried import CarriedMask
from transformers import masking_utils

LENGTHS = dict(batch_size=2, q_length=5, kv_length=5)
PADDED = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], dtype=torch.bool)
KINDS = {
    "causal": dict(),
    "padded": dict(attention_mask=PADDED),
    "window": dict(mask_function=masking_utils.sliding_window_causal_mask_function(2)),
    "bidirectional": dict(mask_function=masking_utils.bidirectional_mask_function),
    "step": dict(q_length=1, q_offset=4),
    "custom": dict(mask_function=lambda b, h, q, k: (q + k) % 2 == 0),
}


@pytest.fixture(params=KINDS)
def pair(request):
    """(the mask, what it stands for)."""
    arguments = {**LENGTHS, **KINDS[request.param]}
    skips = dict(allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
    return hf_masks.regard_mask(**arguments), masking_utils.sdpa_mask(
        **arguments, **skips
    ).contiguous()


def test_there_is_always_a_mask():
    """Whatever transformers allows to skip: "no mask" would say different things to modules that
    are causal, that are not, and that do not know."""
    for function in (masking_utils.causal_mask_function, masking_utils.bidirectional_mask_function):
        for ones in (None, torch.ones(2, 5, dtype=torch.bool)):
            mask = hf_masks.regard_mask(
                **LENGTHS,
                mask_function=function,
                attention_mask=ones,
                allow_is_causal_skip=True,
                allow_is_bidirectional_skip=True,
            )
            assert isinstance(mask, CarriedMask)


OPERATIONS = {
    "slice of keys": lambda m: m[:, :, :, :3],
    "slice of queries": lambda m: m[:, :, -1:],
    "whole slice": lambda m: m[:, :, :, : m.shape[-1]],
    "index": lambda m: m[:, 0],
    "by a tensor": lambda m: m[..., torch.tensor([1, 0])],
    "repeat": lambda m: m.repeat(1, 3, 1, 1),
    "repeat_interleave": lambda m: m.repeat_interleave(2, 0),
    "expand": lambda m: m.expand(-1, 4, -1, -1),
    "cat": lambda m: torch.cat([m, m], dim=-1),
    "cat with a tensor": lambda m: torch.cat([torch.zeros_like(m), m], dim=-1),
    "stack": lambda m: torch.stack([m, m]),
    "transpose": lambda m: m.transpose(-1, -2),
    "view": lambda m: m.view(m.shape[0], -1),
    "squeeze": lambda m: m.squeeze(1),
    "not": lambda m: ~m,
    "and": lambda m: m & torch.tensor([True, False])[:, None, None, None],
    "or": lambda m: torch.zeros_like(m) | m,
    "float": lambda m: m.float(),
    "to int": lambda m: m.to(torch.int64),
    "to bool": lambda m: m.to(dtype=torch.bool, device="cpu"),
    "equal to 0": lambda m: m == 0,
    "sum": lambda m: m.sum(-1),
    "all": lambda m: m.all(),
    "any": lambda m: (~m).any(-1),
    "where": lambda m: torch.where(m, 0.0, -1.0),
    "masked_fill": lambda m: torch.zeros(m.shape).masked_fill(~m, -1.0),
    "one minus it": lambda m: 1.0 - m.float(),
    "times": lambda m: m * torch.tensor(2.0),
    "split": lambda m: m.split(1, 0)[0],
    "pad": lambda m: torch.nn.functional.pad(m, (0, 2), value=True),
    "clone": lambda m: m.clone(),
    "contiguous": lambda m: m.contiguous(),
    "copy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_is_the_boolean_tensor(pair, name):
    mask, allowed = pair
    assert mask.dtype is torch.bool and mask.device.type == "cpu" and mask.dim() == mask.ndim == 4
    assert mask.shape == mask.size() == allowed.shape and mask.size(-1) == allowed.size(-1)
    actual, expected = OPERATIONS[name](mask), OPERATIONS[name](allowed)
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    assert torch.equal(torch.as_tensor(actual.tolist()), torch.as_tensor(expected.tolist()))


def test_numbers_and_arrays(pair):
    mask, allowed = pair
    assert mask.tolist() == allowed.tolist()
    assert (mask.numpy() == allowed.numpy()).all()
    assert bool(mask[0, 0, -1, 0]) == bool(allowed[0, 0, -1, 0])
    assert repr(mask).startswith("CarriedMask(")


def test_added_to_scores_it_hides_what_it_hides(pair):
    """As eager's mask of floats: also after it was sliced or repeated, in place, and from the
    right; and the scores keep their gradient."""
    mask, allowed = pair
    scores = torch.randn(2, 3, *allowed.shape[-2:], requires_grad=True)
    lowest = torch.finfo(torch.float32).min
    expected = torch.where(allowed, scores, lowest).softmax(-1)
    for added in (
        scores + mask,
        mask + scores,
        scores.clone().add_(mask),
        scores + mask[:, :, :, : scores.shape[-1]],
        scores + mask.repeat(1, 3, 1, 1),
        scores + mask.expand(-1, 3, -1, -1),
    ):
        torch.testing.assert_close(added.softmax(-1), expected)
    (gradient,) = torch.autograd.grad((scores + mask).sum(), scores)
    assert torch.equal(gradient, torch.ones_like(scores))


def test_nobody_asks_and_nothing_is_built(monkeypatch):
    def refuse(**_):
        raise AssertionError("a boolean matrix was made")

    monkeypatch.setattr(hf_masks, "sdpa_mask", refuse)
    for kind in ("causal", "padded", "window", "bidirectional", "step"):
        mask = hf_masks.regard_mask(**{**LENGTHS, **KINDS[kind]})
        same = mask.to("cpu").contiguous().detach()[:, :, :, :5].expand(-1, 1, -1, -1)
        assert same.mask is mask.mask
        query = torch.randn(2, 2, mask.shape[-2], 8)
        key = torch.randn(2, 2, 5, 8)
        regard.transformers.regard_attention(torch.nn.Module(), query, key, key, same)
    with pytest.raises(AssertionError, match="a boolean matrix was made"):
        mask.sum()
