# SPDX-License-Identifier: Apache-2.0
"""Autograd's own checks: gradcheck, double backward, forward mode, checkpointing, saved-tensor
hooks, no_grad, inference mode."""

import pytest
import regard
import torch
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint


def draw():
    q = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 2, 7, d, dtype=torch.float64, requires_grad=True) for d in (6, 3))
    return q, k, v


OPTIONS = {
    "plain": {},
    "causal": dict(mask=regard.causal()),
    "window": dict(mask=regard.window(2, 1) & regard.key_lengths([7, 4])),
    "softcap": dict(softcap=1.3, scale=0.8),
    "lse": dict(return_lse=True, mask=regard.causal(1)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_gradcheck(name):
    assert torch.autograd.gradcheck(lambda *x: regard.attention(*x, **OPTIONS[name]), draw())


@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (4, 1, 7), (2, 1, 5, 1), (7,)], ids=str)
def test_gradcheck_with_bias(shape):
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda q, k, v, b: regard.attention(q, k, v, bias=b, softcap=2.0), (*draw(), bias)
    )


def test_gradcheck_of_packed_documents():
    inputs = [
        torch.randn(n, h, 4, dtype=torch.float64, requires_grad=True)
        for n, h in ((9, 2), (11, 1), (11, 1))
    ]
    mask = regard.causal() & regard.documents([0, 4, 9], [0, 3, 11])
    assert torch.autograd.gradcheck(
        lambda *x: regard.attention(*x, mask=mask, layout="thd"), inputs
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_a_gradient_that_will_be_differentiated_is_the_same(name):
    inputs = draw()
    out = regard.attention(*inputs, **OPTIONS[name])
    out = out[0] if isinstance(out, tuple) else out
    first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
    plain = torch.autograd.grad(
        regard.attention(*inputs, **{**OPTIONS[name], "return_lse": False}).square().sum(), inputs
    )
    torch.testing.assert_close(first, plain)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["causal", "softcap"])
def test_checkpointing(name, reentrant):
    inputs = draw()

    def block(q, k, v):
        return regard.attention(q * 1.5, k, v.sin(), **OPTIONS[name])

    expected = torch.autograd.grad(block(*inputs).square().sum(), inputs)
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    checkpoint(block, *leaves, use_reentrant=reentrant).square().sum().backward()
    for leaf, gradient in zip(leaves, expected, strict=True):
        assert torch.equal(leaf.grad, gradient)


@pytest.mark.parametrize("options", [{}, dict(softcap=2.0)], ids=str)
def test_forward_mode_is_an_error(options):
    """Not a tangent that is lost."""
    q, k, v = (x.detach() for x in draw())
    with forward_ad.dual_level():
        regard.attention(q, k, v, **options)
        dual = forward_ad.make_dual(k, torch.ones_like(k))
        with pytest.raises(
            RuntimeError, match="regard.attention: forward-mode differentiation is not supported"
        ):
            regard.attention(q, dual, v, **options)
        with pytest.raises(RuntimeError, match="forward-mode"):
            regard.attention(
                q,
                k,
                v,
                modifiers=regard.sinks(forward_ad.make_dual(torch.zeros(4), torch.ones(4))),
                **options,
            )


def test_saved_tensors_may_be_moved_away():
    inputs = draw()
    expected = torch.autograd.grad(regard.attention(*inputs).sum(), inputs)
    packed = []

    def pack(x):
        packed.append(x.shape)
        return x.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = regard.attention(*inputs)
    assert torch.equal(torch.autograd.grad(out.sum(), inputs)[0], expected[0])
    assert len(packed) == 5


def test_a_changed_input_is_noticed():
    q, k, v = (x * 1 for x in draw())
    out = regard.attention(q, k, v)
    k.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_no_grad_and_inference_mode():
    inputs = draw()
    expected = regard.attention(*inputs)
    assert expected.requires_grad
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            out = regard.attention(*inputs)
            assert not out.requires_grad and torch.equal(out, expected)
            assert torch.equal(regard.attention(*inputs, return_lse=True)[0], expected)


def test_parameters_as_inputs():
    q, k, v = (torch.nn.Parameter(x.detach()) for x in draw())
    regard.attention(q, k, v).sum().backward()
    assert all(x.grad is not None for x in (q, k, v))


def test_backward_twice_over_a_kept_graph():
    inputs = draw()
    out = regard.attention(*inputs)
    first = torch.autograd.grad(out.sum(), inputs, retain_graph=True)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first, torch.autograd.grad(out.sum(), inputs), strict=True)
    )
