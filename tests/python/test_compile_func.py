# SPDX-License-Identifier: Apache-2.0
"""torch.func inside torch.compile: one graph, and the numbers of the same call outside."""

import pytest
import regard
import torch
from kernel_calls import kernel_calls
from torch.func import grad, vjp, vmap


def loss(q, k, v):
    return regard.attention(q, k, v, mask=regard.causal()).square().sum()


def capped(q, k, v):
    out, lse = regard.attention(q, k, v, softcap=2.0, return_lse=True)
    return out.square().sum() + lse.sum()


def with_sinks(q, k, v):
    sinks = regard.sinks(torch.ones(1, 1, dtype=q.dtype))
    return regard.attention(q[None], k[None], v[None], modifiers=sinks)


CALLS = {
    "grad": lambda q, k, v: grad(loss, (0, 1, 2))(q, k, v),
    "vmap": lambda q, k, v: vmap(regard.attention)(q, k, v),
    "vmap of the queries": lambda q, k, v: vmap(regard.attention, (0, None, None))(q, k[0], v[0]),
    "vmap, one by one": lambda q, k, v: vmap(with_sinks)(q, k, v),
    "vmap of grad": lambda q, k, v: vmap(grad(capped, (0, 1, 2)))(q, k, v),
    "grad of vmap": lambda q, k, v: grad(lambda q: vmap(capped)(q, k, v).sum())(q),
    "grad of grad": lambda q, k, v: grad(lambda q: grad(loss)(q, k, v).square().sum())(q),
    "vjp": lambda q, k, v: vjp(lambda q: regard.attention(q, k, v), q)[1](torch.ones_like(q))[0],
}


@pytest.mark.parametrize("name", CALLS)
def test_as_outside(name):
    torch._dynamo.reset()
    inputs = [torch.randn(3, n, 6, dtype=torch.float64) for n in (5, 7, 7)]
    expected = CALLS[name](*inputs)
    compiled = torch.compile(CALLS[name], fullgraph=True, backend="aot_eager")
    compiled(*inputs)
    with kernel_calls() as calls:
        actual = compiled(*inputs)
    assert calls.forward >= 1 and calls.pytorch == 0
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", ["grad", "grad of grad", "vmap of grad"])
def test_the_operator_itself_in_eager_code(name, monkeypatch):
    """What a graph holds, called level by level without a compiler."""
    inputs = [torch.randn(3, n, 6, dtype=torch.float64) for n in (5, 7, 7)]
    expected = CALLS[name](*inputs)
    operator = torch.ops.regard.attention

    def attention(q, k, v, *, mask=None, softcap=0.0, return_lse=False):
        ints = [] if mask is None else mask.ints
        capped = ([21, 0], [softcap]) if softcap else ([], [])
        out, lse, _ = operator(q, k, v, [*ints, *capped[0]], capped[1], [], 0)
        return (out, lse) if return_lse else out

    monkeypatch.setattr(regard, "attention", attention)
    torch.testing.assert_close(CALLS[name](*inputs), expected)
