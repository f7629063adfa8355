# SPDX-License-Identifier: Apache-2.0
"""Gradients of gradients: against autograd's finite differences for every mechanism, against the
formula differentiated twice by PyTorch, and in memory that does not grow with the square."""

import math
import subprocess
import sys
import textwrap

import pytest
import regard
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CODES = dict(query_code=torch.arange(4), key_code=torch.arange(5), shift=4)
PACKED = regard.documents(torch.tensor([0, 2, 4]), torch.tensor([0, 3, 5]))
SLOPES = torch.tensor([0.3, 0.1], dtype=torch.float64)

# The options made of one more tensor, and that tensor's shape.
CALLS = {
    "plain": (lambda x: {}, ()),
    "causal": (lambda x: dict(mask=regard.causal()), ()),
    "a row that sees nothing": (
        lambda x: dict(mask=regard.window(0, 0, -1), return_lse=False),
        (),
    ),
    "boolean mask": (lambda x: dict(mask=torch.arange(20).reshape(4, 5) % 3 > 0), ()),
    "scale, lse, softcap": (lambda x: dict(scale=0.7, softcap=1.5, return_lse=True), ()),
    "bias": (lambda x: dict(bias=x, softcap=2.0), (4, 5)),
    "bias of every row": (lambda x: dict(bias=x), (2, 1, 5)),
    "dropout": (lambda x: dict(dropout_p=0.4, seed=3), ()),
    "sinks": (lambda x: dict(modifiers=regard.sinks(x), return_lse=True), (2, 2)),
    "temperature": (lambda x: dict(modifiers=regard.temperature(x.exp())), (2,)),
    "alibi": (lambda x: dict(modifiers=regard.alibi(x.abs())), (2,)),
    "multiplier": (lambda x: dict(modifiers=regard.multiplier(x)), (2, 4, 1)),
    "gaussian": (lambda x: dict(modifiers=regard.gaussian(x, 1.3)), (2, 4)),
    "relative": (
        lambda x: dict(modifiers=regard.relative_bias(x, torch.arange(9), **CODES)),
        (9, 2),
    ),
    "additive": (lambda x: dict(score=regard.additive(x)), (2, 3)),
    "part": (
        lambda x: dict(
            mask=regard.causal(),
            modifiers=regard.alibi(SLOPES),
            part=regard.part(2, 1, len_q=9, len_k=7),
        ),
        (),
    ),
}


def draw(*shapes):
    torch.manual_seed(0)
    return [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("name", CALLS)
def test_mechanism(name):
    make, shape = CALLS[name]
    *inputs, extra = draw((1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2), shape)
    if shape:
        inputs.append(extra)

    def call(q, k, v, x=None):
        return regard.attention(q, k, v, **make(x))

    assert torch.autograd.gradgradcheck(call, inputs)


LAYOUTS = {
    "rank 2": (((4, 3), (5, 3), (5, 2)), {}),
    "grouped": (((2, 4, 4, 3), (2, 2, 5, 3), (2, 2, 5, 2)), {}),
    "bshd": (((1, 4, 4, 3), (1, 5, 2, 3), (1, 5, 2, 2)), dict(layout="bshd")),
    "packed": (((4, 4, 3), (5, 2, 3), (5, 2, 2)), dict(layout="thd", mask=PACKED)),
    "rank 5, broadcast": (((2, 1, 1, 4, 3), (1, 2, 1, 5, 3), (2, 2, 1, 5, 2)), {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name):
    shapes, options = LAYOUTS[name]
    assert torch.autograd.gradgradcheck(lambda *x: regard.attention(*x, **options), draw(*shapes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradient_penalty_over_many_tiles(dtype):
    """Sequences long enough to be cut into several blocks of rows."""
    shapes = ((2, 4, 150, 16), (2, 4, 500, 16), (2, 4, 500, 16))
    inputs = [x.detach().to(dtype).requires_grad_() for x in draw(*shapes)]

    def penalty(attention, inputs):
        out = attention(*inputs)
        first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    wide = [x.detach().double().requires_grad_() for x in inputs]
    with sdpa_kernel(SDPBackend.MATH):
        exact = penalty(F.scaled_dot_product_attention, wide)
    with regard.enabled():
        actual = penalty(F.scaled_dot_product_attention, inputs)
    bar = 1e-4 if dtype is torch.float32 else 5e-2
    for a, e in zip(actual, exact, strict=True):
        assert a.dtype == dtype
        assert (a.double() - e).abs().max() <= bar * e.abs().max()


def plain(q, k, v):
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v


def test_torch_func():
    q, k, v = (x.detach() for x in draw((3, 4, 3), (3, 5, 3), (3, 5, 3)))

    def second(attention):
        def loss(q, k, v):
            return attention(q, k, v).square().sum()

        def penalty(q, k, v):
            return torch.func.grad(loss)(q, k, v).square().sum()

        return [
            torch.func.grad(penalty, (0, 1, 2))(q, k, v),
            torch.func.vmap(torch.func.grad(penalty, (0, 1, 2)))(q, k, v),
            torch.func.jacrev(torch.func.grad(loss))(q, k, v),
        ]

    torch.testing.assert_close(second(regard.attention), second(plain))


@pytest.mark.parametrize("vectorize", [True, False])
def test_hessian(vectorize):
    (q,) = (x.detach() for x in draw((2, 4, 3)))

    def hessian(attention):
        return torch.autograd.functional.hessian(
            lambda q: attention(q, q, q).square().sum(), q, vectorize=vectorize
        )

    torch.testing.assert_close(hessian(regard.attention), hessian(plain))


def test_states_have_a_second_derivative_and_their_merge_has_none():
    q, k, v = draw((1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2))

    def lse(q, k, v):
        state = regard.attention_state(q, k, v, mask=regard.causal())
        return state.out, state.log_sum + state.maximum

    assert torch.autograd.gradgradcheck(lse, (q, k, v))
    state = regard.attention_state(q, k, v)
    out = regard.merge([state, state]).out.square().sum()
    (first,) = torch.autograd.grad(out, q, create_graph=True)
    with pytest.raises(RuntimeError, match=r"regard.merge: double backward"):
        torch.autograd.grad(first.sum(), q)


def test_what_is_not_served_is_named():
    q, k, v = draw((1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2))
    (first,) = torch.autograd.grad(regard.attention(q, k, v).square().sum(), q, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="regard.attention: triple backward"):
        torch.autograd.grad(second.sum(), q)
    packed = [x[0].transpose(0, 1) for x in (q, k, v)]
    out = regard.attention(*packed, layout="thd", mask=PACKED, modifiers=regard.alibi(SLOPES))
    (first,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative through ALiBi"):
        torch.autograd.grad(first.square().sum(), q)


# A process of its own: its peak is that of this alone. One matrix of scores would be 144 MiB.
LONG = """
    import resource
    import torch
    import regard

    torch.set_num_threads(1)
    q = torch.randn(1, 1, 6144, 8, requires_grad=True)
    out = regard.attention(q, q, q, mask=regard.causal())
    (first,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (second,) = torch.autograd.grad(first.square().sum(), q)
    assert second.isfinite().all() and second.abs().max() > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_linear():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LONG)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) < 100 << 10  # KiB
