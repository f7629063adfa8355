# SPDX-License-Identifier: Apache-2.0
"""Dropout under regard.enable(): the seed follows torch's default generator on every road;
values and gradients are those of the mask that the seed stands for."""

import math
import subprocess
import sys
import textwrap

import oracle
import pytest
import regard
import torch
import torch.nn.functional as F
from dropout_masks import drawn_seed, kept
from kernel_calls import kernel_calls
from torch.utils.checkpoint import checkpoint

BATCH, HEADS, LEN_Q, LEN_K = 2, 4, 19, 70
P = 0.3


def draw(dtype=torch.float64, heads_kv=HEADS):
    shapes = ((BATCH, HEADS, LEN_Q, 16), (BATCH, heads_kv, LEN_K, 16), (BATCH, heads_kv, LEN_K, 24))
    return [torch.randn(shape).to(dtype) for shape in shapes]


def sdpa(q, k, v, **options):
    return F.scaled_dot_product_attention(q, k, v, dropout_p=P, **options)


ALLOWED = torch.rand(1, HEADS, LEN_Q, LEN_K, generator=torch.Generator().manual_seed(1)) > 0.4
CASES = {  # what PyTorch's function is given, and what that is for the oracle
    "plain": ({}, {}),
    "causal": (dict(is_causal=True), dict(allowed=oracle.causal(LEN_Q, LEN_K, 0))),
    "boolean mask": (dict(attn_mask=ALLOWED), dict(allowed=ALLOWED)),
    "scale": (dict(scale=0.4), dict(scale=0.4)),
    "grouped": (dict(enable_gqa=True), {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_against_the_oracle(name, dtype):
    options, exact = CASES[name]
    inputs = draw(dtype, 2 if "enable_gqa" in options else HEADS)
    d_out = torch.randn(BATCH, HEADS, LEN_Q, 24).to(dtype)
    state = torch.get_rng_state()
    exact = dict(exact, kept=kept(P, drawn_seed(), BATCH, HEADS, LEN_Q, LEN_K))
    torch.set_rng_state(state)
    leaves = [x.clone().requires_grad_() for x in inputs]
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        out = sdpa(*leaves, **options)
        gradients = torch.autograd.grad(out, leaves, d_out)
    assert regard.report() == (1, {})
    assert calls.forward == 1 and calls.backward == 1 and calls.pytorch == 0
    oracle.check_forward(out, *inputs, **exact)
    oracle.check_gradients(gradients, inputs, d_out, lambda q, k, v, f: f(q, k, v, **exact))


def test_bias_and_its_gradient():
    inputs = [*draw(torch.float32), torch.randn(HEADS, LEN_Q, LEN_K)]
    d_out = torch.randn(BATCH, HEADS, LEN_Q, 24)
    torch.manual_seed(5)
    mask = kept(P, drawn_seed(), BATCH, HEADS, LEN_Q, LEN_K)
    torch.manual_seed(5)
    regard.report(reset=True)
    with regard.enabled():
        gradients = oracle.gradients(
            lambda q, k, v, bias: sdpa(q, k, v, attn_mask=bias), inputs, d_out
        )
    assert regard.report() == (1, {})
    oracle.check_gradients(
        gradients, inputs, d_out, lambda q, k, v, bias, f: f(q, k, v, bias=bias, kept=mask)
    )


RANKS = {  # query, key, value, and the scores that they broadcast to
    "rank 2": ((9, 8), (13, 8), (13, 6), (9, 13)),
    "rank 3": ((4, 9, 8), (4, 13, 8), (4, 13, 8), (4, 9, 13)),
    "rank 5": ((3, 2, 4, 9, 8), (3, 2, 4, 13, 8), (3, 2, 4, 13, 8), (3, 2, 4, 9, 13)),
    "broadcast": ((4, 9, 8), (2, 1, 13, 8), (2, 4, 13, 8), (2, 4, 9, 13)),
}


@pytest.mark.parametrize("name", RANKS)
def test_ranks(name):
    *shapes, scores = RANKS[name]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    torch.manual_seed(5)
    mask = kept(P, drawn_seed(), *scores)
    torch.manual_seed(5)
    with regard.enabled(), kernel_calls() as calls:
        out = sdpa(*inputs)
        gradients = torch.autograd.grad(out.square().sum(), inputs)
    assert calls.forward == 1 and calls.backward == 1 and calls.pytorch == 0
    q, k, v = inputs
    expected = (torch.softmax(q @ k.mT / math.sqrt(8), -1) * mask) @ v
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), inputs))


def test_the_generator_decides():
    inputs = draw()

    def call(seed=None):
        if seed is not None:
            torch.manual_seed(seed)
        return sdpa(*inputs)

    with regard.enabled():
        first, second = call(3), call()
        assert torch.equal(call(3), first) and torch.equal(call(), second)
        assert not torch.equal(first, second)
        torch.manual_seed(3)
        assert torch.equal(regard.attention(*inputs, dropout_p=P), first)
        for context in (torch.no_grad, torch.inference_mode):
            with context():
                assert torch.equal(call(3), first)


def test_a_call_that_is_declined_draws_no_seed():
    """PyTorch's kernel gets the random state that it would have found."""
    q = torch.randn(1, 1, 3, 600)
    torch.manual_seed(4)
    expected = sdpa(q, q, q)
    regard.report(reset=True)
    torch.manual_seed(4)
    with regard.enabled():
        assert torch.equal(sdpa(q, q, q), expected)
    assert regard.report() == (0, {"head dim outside 1 to 512": 1})


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_a_probability_that_is_none_is_pytorchs_to_name(p):
    q = torch.randn(1, 2, 3, 8)
    with pytest.raises(RuntimeError) as expected:
        F.scaled_dot_product_attention(q, q, q, dropout_p=p)
    with regard.enabled(), pytest.raises(RuntimeError) as actual:
        F.scaled_dot_product_attention(q, q, q, dropout_p=p)
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything_dropped(p):
    q, k, v = (x.requires_grad_() for x in draw())
    with regard.enabled():
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=p)
        expected = F.scaled_dot_product_attention(q, k, v) * (1 - p)
    torch.testing.assert_close(out, expected)
    for a, b in zip(
        torch.autograd.grad(out.sum(), (q, k, v)),
        torch.autograd.grad(expected.sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_autocast():
    inputs = [x.requires_grad_() for x in draw(torch.float32)]
    torch.manual_seed(2)
    with regard.enabled(), torch.autocast("cpu", torch.bfloat16):
        out = sdpa(*inputs)
    torch.manual_seed(2)
    expected = regard.attention(*(x.bfloat16() for x in inputs), dropout_p=P)
    assert out.dtype == torch.bfloat16 and torch.equal(out, expected)
    for a, b in zip(
        torch.autograd.grad(out.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        assert a.dtype == torch.float32 and torch.equal(a, b)


def steps(function, inputs):
    """The output, and the gradients by backward(), which reentrant checkpoints need."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    torch.manual_seed(7)
    out = function(*leaves)
    out.square().sum().backward()
    return out, *(x.grad for x in leaves)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_replays(reentrant):
    """The forward pass runs again in backward, with the mask that it had: else gradients would
    be those of another one."""
    inputs = draw()
    regard.report(reset=True)
    with regard.enabled():
        expected = steps(sdpa, inputs)
        with kernel_calls() as calls:
            actual = steps(lambda *x: checkpoint(sdpa, *x, use_reentrant=reentrant), inputs)
    assert calls.forward == 2 and calls.backward == 1 and calls.pytorch == 0
    assert regard.report() == (3, {})
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("randomness", ["different", "same", "error"])
def test_torch_func(randomness):
    """vmap stays with PyTorch: the same seed gives what it gives without Regard, and its rules for
    randomness hold. Gradients are taken here, and the same seed gives the same ones again."""
    inputs = [x.detach() for x in draw()]

    def loss(q, k, v):
        return sdpa(q, k, v).square().sum()

    def mapped():
        torch.manual_seed(6)
        if randomness == "error":
            with pytest.raises(RuntimeError, match="randomness"):
                torch.func.vmap(loss, randomness=randomness)(*inputs)
            return []
        return torch.func.vmap(loss, randomness=randomness)(*inputs)

    def gradients():
        torch.manual_seed(6)
        return torch.func.grad(loss, (0, 1, 2))(*inputs)

    expected = mapped()
    regard.report(reset=True)
    with regard.enabled():
        actual = mapped()
        assert regard.report().served == 0
        first, again = gradients(), gradients()
        assert regard.report().served == 2
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert first[0].any()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


# What a user runs: nothing compiled or imported before helps. Compiled code draws the seeds that
# eager code draws.
FRESH = """
    import torch
    import torch.nn.functional as F
    import regard
    from kernel_calls import kernel_calls
    from torch.utils.checkpoint import checkpoint

    q, k, v = inputs = [torch.randn(2, 4, 9, 8, requires_grad=True) for _ in range(3)]
    attention = torch.nn.MultiheadAttention(8, 2, dropout=0.4, batch_first=True)
    leaves = [*inputs, *attention.parameters()]


    def two(q, k, v):
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.4, is_causal=True)
        return F.scaled_dot_product_attention(out, k, v, dropout_p=0.2)


    def again(q, k, v):
        return checkpoint(two, q, k, v, use_reentrant=False).sin()


    def module(q, k, v):
        return attention(q[0], k[0], v[0], need_weights=False)[0]


    def step(function, seed=7):
        torch.manual_seed(seed)
        out = function(q, k, v)
        gradients = torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)
        return [out, *(g for g in gradients if g is not None)]


    regard.enable()
    for function in (two, again, module):
        compiled = torch.compile(function, fullgraph=True, backend="BACKEND")
        first = step(compiled)
        with kernel_calls() as calls:
            same = step(compiled)
        assert calls.forward >= 1 and calls.backward >= 1 and calls.pytorch == 0, calls
        assert all(torch.equal(a, b) for a, b in zip(same, first, strict=True)), function
        assert not torch.equal(step(compiled, 8)[0], first[0]), function
        torch.testing.assert_close(first, step(function), msg=lambda text: f"{function}: {text}")
    assert not regard.report().declined
    print("the same")
"""


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_in_a_fresh_process(backend):
    program = textwrap.dedent(FRESH).replace("BACKEND", backend)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=__file__.rsplit("/", 1)[0],
    )
    assert run.returncode == 0 and run.stdout.endswith("the same\n"), run.stderr[-3000:]
