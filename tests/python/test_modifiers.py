# SPDX-License-Identifier: Apache-2.0
"""Modifiers against their formulas in float64 autograd, one by one and in random compositions;
gradcheck through the real float64 kernels."""

import ctypes
import math

import oracle
import pytest
import regard
import torch
from dropout_masks import kept
from hypothesis import given, settings
from hypothesis import strategies as st
from regard.modifiers import dropout

BATCH, HEADS, LEN_Q, LEN_K, DIM, DIM_V = 2, 4, 13, 19, 8, 6


def tensors(dtype=torch.float64, heads_kv=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = [
        (BATCH, HEADS, LEN_Q, DIM),
        (BATCH, heads_kv, LEN_K, DIM),
        (BATCH, heads_kv, LEN_K, DIM_V),
    ]
    return [
        torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes
    ]


def parameter(*shape, seed=1, positive=False):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x.abs() + 0.5 if positive else x).requires_grad_()


class Formula:
    """Each mechanism in dense float64, as its paper writes it: hooks on scores, on weights, and
    on the denominator."""

    def __init__(self):
        self.scores, self.weights, self.sinks, self.divide = [], [], None, None

    def __call__(self, q, k, v, allowed=None, softcap=0.0, w=None):
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        s = (
            q @ k.mT / math.sqrt(q.shape[-1])
            if w is None
            else torch.tanh(q[..., :, None, :] + k[..., None, :, :]) @ w
        )
        if self.divide is not None:
            s = s / self.divide[:, None, None]
        if softcap:
            s = softcap * torch.tanh(s / softcap)
        for f in self.scores:
            s = f(s)
        if allowed is not None:
            s = s.masked_fill(~allowed, -math.inf)
        if self.sinks is None:
            p = torch.softmax(s, -1)
        else:
            extra = self.sinks[None, :, None, :].expand(s.shape[0], -1, s.shape[2], -1)
            p = torch.softmax(torch.cat([s, extra], -1), -1)[..., : s.shape[-1]]
        for f in self.weights:
            p = f(p)
        return p @ v


def distances():
    return (torch.arange(LEN_Q)[:, None] + LEN_K - LEN_Q - torch.arange(LEN_K)).abs().double()


class Tile(ctypes.Structure):
    """FunctionTile of include/regard/modifier.h."""

    _fields_ = [("data", ctypes.c_void_p), ("scores", ctypes.c_void_p)]
    _fields_ += [
        (n, ctypes.c_int64) for n in ("rows", "columns", "stride", "query", "key", "batch", "head")
    ]
    _fields_ += [("is_double", ctypes.c_int32)]


def _elements(pointer, tile):
    return ctypes.cast(
        pointer, ctypes.POINTER(ctypes.c_double if tile.is_double else ctypes.c_float)
    )


def _ahead(tile):
    """(index of an element, key - query) of a tile."""
    for r in range(tile.rows):
        for c in range(tile.columns):
            yield r * tile.stride + c, tile.key + c - tile.query - r


_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.POINTER(Tile), ctypes.c_void_p)


@_SIGNATURE
def _apply(tile, _):
    """s <- s + 0.005 s^2 (key - query)"""
    data = _elements(tile.contents.data, tile.contents)
    for at, ahead in _ahead(tile.contents):
        data[at] += 0.005 * data[at] * data[at] * ahead


@_SIGNATURE
def _derive(tile, _):
    data, scores = (_elements(x, tile.contents) for x in (tile.contents.data, tile.contents.scores))
    for at, ahead in _ahead(tile.contents):
        data[at] *= 1 + 0.01 * scores[at] * ahead


def make(name):
    """(modifier, its parameter or None, what to add to a Formula)."""
    formula = Formula()
    if name == "temperature":
        t = parameter(HEADS, positive=True)
        formula.divide = t
        return regard.temperature(t), t, formula
    if name == "alibi":
        slopes = parameter(HEADS, positive=True)
        formula.scores.append(lambda s: s - slopes[:, None, None] * distances())
        return regard.alibi(slopes), slopes, formula
    if name == "alibi per batch":
        slopes = parameter(BATCH, HEADS, positive=True)
        formula.scores.append(lambda s: s - slopes[:, :, None, None] * distances())
        return regard.alibi(slopes), slopes, formula
    if name == "relative_bias":
        table, buckets = parameter(5, HEADS), torch.arange(LEN_Q + LEN_K - 1) % 5
        index = buckets[torch.arange(LEN_K) - torch.arange(LEN_Q)[:, None] + LEN_Q - 1]
        formula.scores.append(lambda s: s + table[index].permute(2, 0, 1))
        codes = dict(query_code=torch.arange(LEN_Q), key_code=torch.arange(LEN_K), shift=LEN_Q - 1)
        return regard.relative_bias(table, buckets, **codes), table, formula
    if name == "sinks":
        logits = parameter(HEADS, 2)
        formula.sinks = logits
        return regard.sinks(logits), logits, formula
    if name == "multiplier":
        w = parameter(1, HEADS, LEN_Q, LEN_K)
        formula.weights.append(lambda p: p * w)
        return regard.multiplier(w), w, formula
    if name == "gaussian":
        centre = (parameter(BATCH, 1, LEN_Q) * 3 + 9).detach().requires_grad_()
        formula.weights.append(
            lambda p: (
                p * torch.exp(-((torch.arange(LEN_K) - centre[..., None]) ** 2) / (2 * 2.5**2))
            )
        )
        return regard.gaussian(centre, 2.5), centre, formula
    if name == "function":
        formula.scores.append(
            lambda s: s + 0.005 * s * s * (torch.arange(LEN_K) - torch.arange(LEN_Q)[:, None])
        )
        return (
            regard.function(*(ctypes.cast(f, ctypes.c_void_p).value for f in (_apply, _derive))),
            None,
            formula,
        )
    assert name == "dropout"
    mask = kept(0.3, 77, BATCH, HEADS, LEN_Q, LEN_K)
    formula.weights.append(lambda p: p * mask)
    return dropout(0.3, 77), None, formula


NAMES = [
    "temperature",
    "alibi",
    "alibi per batch",
    "relative_bias",
    "sinks",
    "multiplier",
    "gaussian",
    "dropout",
    "function",
]


@pytest.fixture(autouse=True)
def _one_thread_calls_back():
    """A function in Python runs on the thread that holds the interpreter's lock. (conftest.py
    brings the others back.)"""
    torch.set_num_threads(1)


def join(formulas):
    whole = Formula()
    for f in formulas:
        whole.scores += f.scores
        whole.weights += f.weights
        whole.sinks = f.sinks if f.sinks is not None else whole.sinks
        whole.divide = f.divide if f.divide is not None else whole.divide
    return whole


MASKS = {  # no row of any sees nothing
    "causal": (regard.causal(), oracle.causal(LEN_Q, LEN_K)),
    "near or global": (
        regard.window(2, 1) | regard.global_tokens([0, 9]),
        oracle.window(LEN_Q, LEN_K, 2, 1) | oracle.global_tokens(LEN_Q, LEN_K, [0, 9]),
    ),
    "dilated": (
        regard.dilated(2, 2, [1, 2, 3, 5]),
        oracle.dilated(LEN_Q, LEN_K, 2, 2, [1, 2, 3, 5]),
    ),
    "prefix, not far": (
        regard.prefix([4, 9]) & ~regard.window(0, -1, 5),
        oracle.prefix(torch.tensor([4, 9]), LEN_Q, LEN_K) & ~oracle.window(LEN_Q, LEN_K, 0, -1, 5),
    ),
}


def compare(
    names, dtype=torch.float64, mask=None, softcap=0.0, heads_kv=2, tolerance=1e-11, additive=False
):
    made = [
        make(name) for name in sorted(names, key="function".__eq__)
    ]  # whose place is behind all that is added
    q, k, v = tensors(dtype, heads_kv)
    own = [x.detach().double().requires_grad_() for x in (q, k, v)]
    mask, allowed = MASKS.get(mask, (None, None))
    w = parameter(DIM, seed=3) if additive else None
    score = regard.additive(w) if additive else None
    expected = join([f for _, _, f in made])(*own, allowed=allowed, softcap=softcap, w=w)
    got = regard.attention(
        q, k, v, mask=mask, score=score, softcap=softcap, modifiers=tuple(m for m, _, _ in made)
    )
    d_out = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    parameters = [p for p in (w, *(p for _, p, _ in made)) if p is not None]
    exact = torch.autograd.grad(expected, [*own, *parameters], d_out)
    found = torch.autograd.grad(got, [q, k, v, *parameters], d_out.to(dtype))
    for a, b in zip((got, *found), (expected, *exact), strict=True):
        assert a.shape == b.shape
        size = b.abs().max().item() + 1
        assert (a.double() - b).abs().max().item() <= tolerance * size, (names, a.shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mask", [None, *MASKS])
def test_one_modifier(name, mask):
    compare([name], mask=mask)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.06), (torch.float16, 0.01)]
)
def test_one_modifier_in_narrow_dtypes(name, dtype, tolerance):
    compare([name], dtype=dtype, tolerance=tolerance)


@settings(max_examples=120, deadline=None)
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=6, unique=True),
    mask=st.sampled_from([None, *MASKS]),
    softcap=st.sampled_from([0.0, 3.0]),
    heads_kv=st.sampled_from([1, 2, 4]),
    dtype=st.sampled_from([(torch.float64, 1e-11), (torch.float32, 3e-5)]),
    additive=st.booleans(),
)
def test_compositions(names, mask, softcap, heads_kv, dtype, additive):
    compare(names, dtype[0], mask, softcap, heads_kv, dtype[1], additive)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "dropout"])
def test_gradcheck(name):
    def f(q, k, v, *own):
        (p,) = own or (None,)
        rebuilt = {
            "temperature": lambda: regard.temperature(p),
            "alibi": lambda: regard.alibi(p),
            "alibi per batch": lambda: regard.alibi(p),
            "relative_bias": lambda: regard.relative_bias(
                p,
                torch.arange(LEN_Q + LEN_K - 1) % 5,
                query_code=torch.arange(LEN_Q),
                key_code=torch.arange(LEN_K),
                shift=LEN_Q - 1,
            ),
            "sinks": lambda: regard.sinks(p),
            "multiplier": lambda: regard.multiplier(p),
            "gaussian": lambda: regard.gaussian(p, 2.5),
            "function": lambda: make(name)[0],
        }[name]()
        return regard.attention(
            q, k, v, modifiers=(rebuilt,), mask=regard.causal(), return_lse=True
        )

    parameter = make(name)[1]
    assert torch.autograd.gradcheck(
        f, (*tensors(), *(() if parameter is None else (parameter,))), fast_mode=True
    )


def test_sinks_in_rows_that_see_nothing():
    q, k, v = tensors()
    logits = parameter(HEADS, 3)
    out, lse = regard.attention(
        q, k, v, mask=regard.window(0, 0, -40), modifiers=(regard.sinks(logits),), return_lse=True
    )
    assert not out.any()
    torch.testing.assert_close(lse, torch.logsumexp(logits, -1)[None, :, None].expand_as(lse))
    found = torch.autograd.grad(lse.sum(), logits)[0]
    torch.testing.assert_close(found, torch.softmax(logits, -1) * BATCH * LEN_Q)


def test_dropout_rate_and_independence():
    n, p = 512, 0.25
    q, k = torch.zeros(2, 3, n, 1), torch.zeros(2, 3, n, 1)
    v = torch.eye(n).expand(2, 3, -1, -1)
    drops = (regard.attention(q, k, v, dropout_p=p, seed=5) == 0).double()
    pairs = drops.numel()
    assert abs(drops.mean().item() - p) < 5 * math.sqrt(p * (1 - p) / pairs)
    centred = drops - p
    bound = 5 * p * (1 - p) / math.sqrt(pairs)
    for axis, name in enumerate(("batch", "head", "query", "key")):
        for step in (1, 2) if axis > 1 else (1,):
            correlation = (centred * centred.roll(step, axis)).mean().item()
            assert abs(correlation) < bound, (name, step, correlation)
    for axis in (2, 3):  # each row and each column has its share
        share = drops.mean(axis)
        assert (share - p).abs().max().item() < 6.5 * math.sqrt(p * (1 - p) / n)


def test_dropout_follows_the_generator():
    q, k, v = tensors(torch.float32)

    def draw():
        return regard.attention(q, k, v, dropout_p=0.5)

    torch.manual_seed(3)
    first, second = draw(), draw()
    torch.manual_seed(3)
    assert torch.equal(first, draw())
    assert not torch.equal(first, second)
    assert torch.equal(
        regard.attention(q, k, v, dropout_p=0.5, seed=4),
        regard.attention(q, k, v, dropout_p=0.5, seed=torch.tensor([4])),
    )


def test_dropout_replays_under_checkpointing_and_compile():
    from torch.utils.checkpoint import checkpoint

    q, k, v = tensors(torch.float32)

    def f(q, k, v):
        return regard.attention(q, k, v, dropout_p=0.5)

    def gradients(call):
        torch.manual_seed(11)
        out = call(q, k, v)
        return out, *torch.autograd.grad(out.sum(), (q, k, v))

    for a, b in zip(
        gradients(f), gradients(lambda *x: checkpoint(f, *x, use_reentrant=False)), strict=True
    ):
        assert torch.equal(a, b)
    compiled = torch.compile(f, fullgraph=True)
    gradients(compiled)
    for a, b in zip(gradients(f), gradients(compiled), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(
        compiled(q, k, v), compiled(q, k, v)
    )  # each call draws a seed of its own
    compiled = torch.compile(
        lambda q, k, v, seed: regard.attention(q, k, v, dropout_p=0.5, seed=seed), fullgraph=True
    )
    seed = torch.tensor([8])
    assert torch.equal(compiled(q, k, v, seed), regard.attention(q, k, v, dropout_p=0.5, seed=seed))


def test_all_dropped():
    q, k, v = tensors()
    out = regard.attention(q, k, v, dropout_p=1.0)
    assert not out.any()
    assert not torch.autograd.grad(out.sum(), q)[0].any()


def test_t5_bias_is_transformers():
    from transformers.models.t5.modeling_t5 import T5Attention

    for bidirectional in (True, False):
        for len_q, len_k, offset in ((40, 300, 0), (300, 300, 0), (3, 200, 197)):
            index = T5Attention._relative_position_bucket(
                torch.arange(len_k)[None, :] - (torch.arange(len_q) + offset)[:, None],
                bidirectional,
                num_buckets=32,
                max_distance=128,
            )
            table = torch.randn(32, HEADS, dtype=torch.float64)
            q, k, v = (
                torch.randn(1, HEADS, n, 8, dtype=torch.float64) for n in (len_q, len_k, len_k)
            )
            own = regard.t5_bias(
                table, len_q, len_k, bidirectional=bidirectional, query_offset=offset
            )
            expected = regard.attention(q, k, v, bias=table[index].permute(2, 0, 1)[None])
            torch.testing.assert_close(regard.attention(q, k, v, modifiers=own), expected)


def test_swin_bias_is_the_authors():
    height, width = 4, 3
    coordinates = torch.stack(
        torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ).flatten(1)
    relative = coordinates[:, :, None] - coordinates[:, None, :]  # query - key
    index = (relative[0] + height - 1) * (2 * width - 1) + relative[1] + width - 1
    table = torch.randn((2 * height - 1) * (2 * width - 1), HEADS, dtype=torch.float64)
    q, k, v = (torch.randn(2, HEADS, height * width, 8, dtype=torch.float64) for _ in range(3))
    expected = regard.attention(q, k, v, bias=table[index].permute(2, 0, 1)[None])
    torch.testing.assert_close(
        regard.attention(q, k, v, modifiers=(regard.swin_bias(table, height, width),)), expected
    )


def test_alibi_slopes():
    torch.testing.assert_close(regard.alibi_slopes(8), 2.0 ** -torch.arange(1.0, 9.0))
    assert regard.alibi_slopes(12).shape == (12,)


@pytest.mark.parametrize(
    "made, message",
    [
        (
            lambda: regard.alibi(torch.ones(3)),
            "alibi: shape (3,); expected (heads,) or (batch, heads), for query (2, ",
        ),
        (
            lambda: regard.sinks(torch.ones(1, 2)),
            "sinks: shape (1, 2); expected (heads, m) or (heads,)",
        ),
        (
            lambda: regard.temperature(torch.tensor([1.0, 2.0, 0.0, 1.0])),
            "temperature: 0; expected a finite number above 0",
        ),
        (
            lambda: regard.gaussian(torch.ones(1, 1, LEN_Q), 0.0),
            "gaussian.sigma: 0; expected a finite number above 0",
        ),
        (lambda: regard.multiplier(torch.ones(LEN_K, LEN_Q)), "multiplier: shape"),
        (lambda: regard.alibi([1.0]), "alibi: slopes: list; expected a floating-point tensor"),
        (lambda: dropout(1.5), "dropout_p: 1.5; expected a probability"),
        (
            lambda: regard.relative_bias(
                torch.ones(3, 1),
                torch.zeros(5, dtype=torch.int64),
                query_code=torch.arange(LEN_Q),
                key_code=torch.arange(LEN_K),
            ),
            "relative_bias.shift: 0: differences of codes run from -12 to 18",
        ),
    ],
)
def test_errors(made, message):
    q, k, v = tensors(torch.float32)
    with pytest.raises(ValueError) as error:
        regard.attention(q, k, v, modifiers=(made(),))
    assert message in str(error.value)
