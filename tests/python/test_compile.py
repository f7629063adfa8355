# SPDX-License-Identifier: Apache-2.0
"""torch.compile: one graph, the same numbers and gradients as eager, and the kernels of Regard
within."""

import subprocess
import sys
import textwrap

import pytest
import regard
import torch
from kernel_calls import kernel_calls

SHAPES = ((2, 4, 17, 8), (2, 2, 23, 8), (2, 2, 23, 8), (4, 17, 23))  # query, key, value, bias

NOT_NEAR = ~regard.window(7, 0)  # Dynamo has no ~ for objects: such a mask is made outside

FUNCTIONS = {
    "plain": lambda q, k, v, b: regard.attention(q, k, v),
    "causal": lambda q, k, v, b: regard.attention(q, k, v, mask=regard.causal()),
    "window": lambda q, k, v, b: regard.attention(
        q, k, v, mask=regard.causal() & (regard.window(4, 0) | NOT_NEAR)
    ),
    "key lengths": lambda q, k, v, b: regard.attention(
        q, k, v, mask=regard.key_lengths(torch.tensor([23, 9]))
    ),
    "boolean mask": lambda q, k, v, b: regard.attention(q, k, v, mask=b > 0),
    "bias, softcap, scale": lambda q, k, v, b: regard.attention(
        q, k, v, bias=b, softcap=2.0, scale=0.5
    ),
    "lse": lambda q, k, v, b: torch.cat(
        [x.flatten() for x in regard.attention(q, k, v, return_lse=True)]
    ),
    "bshd": lambda q, k, v, b: regard.attention(
        *(x.transpose(1, 2) for x in (q, k, v)), layout="bshd"
    ),
    "five dimensions": lambda q, k, v, b: regard.attention(q[None], k[None], v[None], bias=b),
    "broadcast batch": lambda q, k, v, b: regard.attention(q, k[:1], v[:1]),
}


def draw(requires_grad=True):
    return [torch.randn(s).requires_grad_(requires_grad) for s in SHAPES]


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_graph_with_the_same_gradients(name):
    function = FUNCTIONS[name]
    inputs = draw()
    expected = function(*inputs)
    d_out = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, inputs, d_out, allow_unused=True)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.autograd.grad(compiled(*inputs), inputs, d_out, allow_unused=True)  # compiles
    with kernel_calls() as calls:
        out = compiled(*inputs)
        gradients = torch.autograd.grad(out, inputs, d_out, allow_unused=True)
    assert calls.forward >= 1 and calls.backward >= 1 and calls.pytorch == 0
    assert torch.equal(out, expected)
    for a, e in zip(gradients, wanted, strict=True):
        assert (a is None and e is None) or torch.equal(a, e)


@pytest.mark.parametrize("name", ["plain", "bias, softcap, scale"])
def test_without_gradients(name):
    inputs = draw(False)
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*inputs), FUNCTIONS[name](*inputs))


def test_lengths_may_change():
    compiled = torch.compile(FUNCTIONS["causal"], fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (5, 9, 130):
        inputs = [torch.randn(2, 4, n, 8, requires_grad=True) for _ in range(3)]
        out, expected = compiled(*inputs, None), FUNCTIONS["causal"](*inputs, None)
        assert torch.equal(out, expected)
        for a, e in zip(
            torch.autograd.grad(out.sum(), inputs),
            torch.autograd.grad(expected.sum(), inputs),
            strict=True,
        ):
            assert torch.equal(a, e)


def test_autocast_within():
    def function(q, k, v):
        with torch.autocast("cpu", torch.bfloat16):
            return regard.attention(q, k, v, softcap=2.0)

    inputs = draw()[:3]
    out = torch.compile(function, fullgraph=True, backend="aot_eager")(*inputs)
    expected = function(*inputs)
    assert out.dtype == torch.bfloat16 and torch.equal(out, expected)
    for a, e in zip(
        torch.autograd.grad(out.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        assert a.dtype == torch.float32 and torch.equal(a, e)


def test_double_backward_is_an_error():
    inputs = draw()
    out = torch.compile(FUNCTIONS["plain"], fullgraph=True, backend="aot_eager")(*inputs)
    first = torch.autograd.grad(out.square().sum(), inputs[:3], create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(sum(g.sum() for g in first), inputs[:3])


def test_torch_export():
    class Module(torch.nn.Module):
        def forward(self, q, k, v):
            return regard.attention(q, k, v, mask=regard.causal())

    inputs = tuple(draw(False)[:3])
    program = torch.export.export(Module(), inputs)
    assert any("regard.attention" in str(node.target) for node in program.graph.nodes)
    assert torch.equal(program.module()(*inputs), Module()(*inputs))


# What a user runs: inductor, in a process of its own, so that nothing compiled or imported before
# helps.
FRESH = """
    import torch
    import regard
    from kernel_calls import kernel_calls

    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True)
    x = torch.randn(3, 9, 16, requires_grad=True)
    leaves = [x, *layer.parameters()]
    mask = torch.nn.Transformer.generate_square_subsequent_mask(9)


    def step(function):
        out = function(x, mask)
        return out, torch.autograd.grad(out.square().sum(), leaves)


    expected, wanted = step(layer)
    regard.enable()
    compiled = torch.compile(layer, fullgraph=True)
    step(compiled)
    with kernel_calls() as calls:
        out, gradients = step(compiled)
    assert calls.forward >= 1 and calls.backward >= 1 and calls.pytorch == 0, calls
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, wanted, rtol=1e-3, atol=1e-4)
    assert all(g.abs().max() > 0 for g in gradients)
    print("the same")
"""


def test_enabled_in_a_fresh_process():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FRESH)],
        capture_output=True,
        text=True,
        cwd=__file__.rsplit("/", 1)[0],
    )
    assert run.returncode == 0 and run.stdout.endswith("the same\n"), run.stderr[-3000:]
