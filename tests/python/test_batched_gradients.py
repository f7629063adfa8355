# SPDX-License-Identifier: Apache-2.0
"""Gradients of gradients' kin in eager code: batched ones (is_grads_batched=True, vectorize=True,
check_batched_grad=True, vmap over torch.autograd.grad), and compiled autograd over an eager
graph."""

import pytest
import regard
import torch
import torch._dynamo.compiled_autograd as compiled_autograd
import torch.nn.functional as F


def draw():
    return [torch.randn(2, 4, n, 8, dtype=torch.float64, requires_grad=True) for n in (5, 7, 7)]


CALLS = {
    "short": lambda q, k, v: regard.attention(q, k, v),
    "causal": lambda q, k, v: regard.attention(q, k, v, mask=regard.causal()),
    "softcap": lambda q, k, v: regard.attention(q, k, v, softcap=2.0),
    "sinks": lambda q, k, v: regard.attention(
        q, k, v, modifiers=regard.sinks(torch.ones(4, 1, dtype=torch.float64))
    ),
    "plan": lambda q, k, v: regard.attention(
        q, k, v, plan=regard.plan(regard.window(2, 2), batch=2, heads=4, len_q=5, len_k=7)
    ),
}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_batched(name, enabled):
    inputs = draw()
    if enabled and name == "short":
        with regard.enabled():
            out = F.scaled_dot_product_attention(*inputs)
    else:
        out = CALLS[name](*inputs)
    arriving = torch.randn(3, *out.shape, dtype=out.dtype)
    one_by_one = [torch.autograd.grad(out, inputs, d, retain_graph=True) for d in arriving]
    expected = tuple(torch.stack(x) for x in zip(*one_by_one, strict=True))
    options = dict(retain_graph=True)
    at_once = torch.autograd.grad(out, inputs, arriving, is_grads_batched=True, **options)
    torch.testing.assert_close(at_once, expected)
    mapped = torch.func.vmap(lambda d: torch.autograd.grad(out, inputs, d, **options))(arriving)
    torch.testing.assert_close(mapped, expected)


def test_gradcheck_of_batched_gradients():
    bias = torch.randn(4, 5, 7, dtype=torch.float64, requires_grad=True)

    def call(q, k, v, bias):
        return regard.attention(q, k, v, bias=bias, return_lse=True)

    inputs = [x.detach()[:1, :, :3, :2].requires_grad_() for x in draw()]
    bias = bias.detach()[:, :3, :3].requires_grad_()
    assert torch.autograd.gradcheck(call, (*inputs, bias), check_batched_grad=True)


def test_vectorized_jacobian():
    q, k, v = draw()
    ours = torch.autograd.functional.jacobian(
        lambda q: regard.attention(q, k, v), q[:1, :1, :3], vectorize=True
    )
    theirs = torch.autograd.functional.jacobian(
        lambda q: torch.softmax(q @ k.mT / 8**0.5, -1) @ v, q[:1, :1, :3]
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", CALLS)
def test_compiled_autograd_over_an_eager_graph(name, backend):
    inputs = draw()
    expected = torch.autograd.grad(CALLS[name](*inputs).square().sum(), inputs)
    compiler = torch.compile(backend=backend, fullgraph=True)
    for _ in range(2):
        for x in inputs:
            x.grad = None
        loss = CALLS[name](*inputs).square().sum()
        with compiled_autograd._enable(compiler):
            loss.backward()
        torch.testing.assert_close(tuple(x.grad for x in inputs), expected)
    torch._dynamo.reset()
