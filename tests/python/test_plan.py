# SPDX-License-Identifier: Apache-2.0
"""Plans: their density, their picture, and that a call with one is a call with its mask."""

import copy
import gc
import pickle

import pytest
import regard
import torch


def test_density_is_the_share_of_pairs_in_tiles_that_exist():
    whole = regard.plan(None, batch=2, heads=4, len_q=96, len_k=128)
    assert whole.density == 1.0
    causal = regard.plan(regard.causal(), len_q=1024, len_k=1024)
    assert 0.5 < causal.density < 0.56
    narrow = regard.plan(regard.causal() & regard.window(256, 0), len_q=65536, len_k=65536)
    assert narrow.density == pytest.approx(257 / 65536, rel=0.25)
    assert regard.plan(regard.causal(-100), len_q=10, len_k=10).density == 0.0


def test_picture():
    rows = regard.plan(regard.causal(), len_q=512, len_k=512).picture(width=16).splitlines()
    assert all(len(row) == 16 and set(row) <= set("#+.") for row in rows)
    assert rows[0][0] == "+" and rows[0][-1] == "." and rows[-1][0] == "#" and rows[-1][-1] == "+"


def test_picture_of_sparse_masks():
    sparse = regard.window(31, 31) | regard.global_tokens([0])
    rows = regard.plan(sparse, len_q=512, len_k=512).picture(width=16).splitlines()
    assert rows[0] == "+" * 16 and rows[4].startswith("+.") and rows[4].endswith("..")
    assert regard.plan(regard.bigbird(), len_q=4096, len_k=4096).density < 0.2
    assert regard.plan(regard.prefix([2]), len_q=4, len_k=4).picture() == "##..\n##..\n###.\n####\n"


@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
def test_a_call_with_a_plan_is_a_call_with_its_mask(needs_grad):
    mask = regard.causal() & regard.window(20, 0)
    plan = regard.plan(mask, batch=2, heads=4, len_q=50, len_k=50)
    inputs = [torch.randn(2, h, 50, 16, requires_grad=needs_grad) for h in (4, 2, 2)]
    out, expected = regard.attention(*inputs, plan=plan), regard.attention(*inputs, mask=mask)
    assert torch.equal(out, expected)
    if needs_grad:
        kept = torch.autograd.grad(out.sum(), inputs)
        assert all(
            torch.equal(a, b)
            for a, b in zip(kept, torch.autograd.grad(expected.sum(), inputs), strict=True)
        )


def test_backward_keeps_the_plan_alive():
    inputs = [torch.randn(1, 2, 30, 8, requires_grad=True) for _ in range(3)]
    out = regard.attention(*inputs, plan=regard.plan(regard.causal(), heads=2, len_q=30, len_k=30))
    expected = regard.attention(*inputs, mask=regard.causal())
    for a, b in zip(
        torch.autograd.grad(out.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_plan_for_other_lengths_is_refused():
    plan = regard.plan(regard.causal(), batch=1, heads=2, len_q=30, len_k=30)
    q = torch.randn(1, 2, 31, 8)
    with pytest.raises(ValueError, match="plan"):
        regard.attention(q, q, q, plan=plan)
    with pytest.raises(ValueError, match="plan"):
        regard.attention(q, q, q, plan=plan, mask=regard.causal(0))


def test_plans_that_make_no_sense():
    with pytest.raises(ValueError, match="len_q"):
        regard.plan(regard.causal(), len_q=-1, len_k=4)
    assert "causal()" in repr(regard.plan(regard.causal(), len_q=3, len_k=4))


def test_plans_are_copied_and_pickled():
    """Copies share what the kernels hold: it is freed once."""
    model = torch.nn.Module()
    model.plan = regard.plan(
        regard.causal() & regard.key_lengths([30]), heads=2, len_q=40, len_k=40
    )
    x = torch.randn(1, 2, 40, 8)
    expected = regard.attention(x, x, x, plan=model.plan)
    copies = [
        copy.copy(model.plan),
        copy.deepcopy(model).plan,
        pickle.loads(pickle.dumps(model)).plan,
    ]
    for each in copies:
        assert each.density == model.plan.density
        assert torch.equal(regard.attention(x, x, x, plan=each), expected)
    del model, each, copies
    gc.collect()
