# SPDX-License-Identifier: Apache-2.0
"""Random shapes, strides, masks and options against the oracle, forward and backward. A failure
prints the one case that shows it."""

import dataclasses

import hypothesis.strategies as st
import oracle
import regard
import torch
from hypothesis import given, settings


@dataclasses.dataclass(frozen=True)
class Case:
    batch: int
    heads_kv: int
    group: int
    len_q: int
    len_k: int
    dim: int
    dim_v: int
    dtype: str
    layout: str
    mask: tuple  # an expression, see _both
    bias: tuple | None  # which axes of (batch, heads, len_q, len_k) it has; the others are 1
    scale: float | None
    softcap: float
    order: tuple  # of the axes in memory
    seed: int


def _lengths(seed, batch, len_k):
    return torch.randint(0, len_k + 1, (batch,), generator=torch.Generator().manual_seed(seed))


def _random(seed, case, axes):
    """Booleans over those of (batch, heads, len_q, len_k) that `axes` names."""
    sizes = (case.batch, case.heads_kv * case.group, case.len_q, case.len_k)
    shape = [n if keep else 1 for n, keep in zip(sizes, axes, strict=True)]
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.3


def _both(expression, case):
    """The mask as Regard's value, and as a dense boolean matrix made from its definition."""
    kind, *rest = expression
    if kind in ("and", "or"):
        (a, dense_a), (b, dense_b) = (_both(e, case) for e in rest)
        return (a & b, dense_a & dense_b) if kind == "and" else (a | b, dense_a | dense_b)
    if kind == "not":
        a, dense = _both(rest[0], case)
        return ~a, ~dense
    if kind == "causal":
        return regard.causal(*rest), oracle.causal(case.len_q, case.len_k, *rest)
    if kind == "window":
        return regard.window(*rest), oracle.window(case.len_q, case.len_k, *rest)
    if kind == "key_lengths":
        lengths = _lengths(rest[0], case.batch, case.len_k)
        return regard.key_lengths(lengths), oracle.key_lengths(lengths, case.len_k)
    n, sizes = rest[0], (case.len_q, case.len_k)
    if kind == "dilated":
        dilations = [1 + (n + head) % 4 for head in range(case.heads_kv * case.group)]
        return regard.dilated(*rest[1:3], dilations, rest[3]), oracle.dilated(
            *sizes, *rest[1:3], dilations, rest[3]
        )
    if kind == "global_tokens":
        tokens = [token % case.len_k for token in (n, 3 * n + 1)] if case.len_k else []
        return regard.global_tokens(tokens), oracle.global_tokens(*sizes, tokens)
    if kind == "prefix":
        lengths = _lengths(n, case.batch, case.len_k)
        return regard.prefix(lengths), oracle.prefix(lengths, *sizes)
    if kind == "blocks":
        rows, keys = rest[1:]
        layout = (
            torch.rand(
                -(-case.len_q // rows),
                -(-case.len_k // keys),
                generator=torch.Generator().manual_seed(n),
            )
            > 0.5
        )
        return regard.blocks(layout, (rows, keys)), oracle.blocks(layout, *sizes, rows, keys)
    if kind == "around":
        centres = (
            torch.rand(case.batch, 1, case.len_q, generator=torch.Generator().manual_seed(n))
            * case.len_k
        )
        return regard.around(centres, rest[1]), oracle.around(centres, case.len_k, rest[1])
    dense = _random(n, case, rest[1])
    return regard.tensor(dense), dense


_axes = st.tuples(*[st.booleans()] * 4)
_offsets = st.one_of(st.none(), st.integers(-40, 40))
_leaves = st.one_of(
    st.tuples(st.just("causal"), _offsets),
    st.tuples(st.just("window"), st.integers(-1, 50), st.integers(-1, 50), _offsets),
    st.tuples(st.just("key_lengths"), st.integers(0, 99)),
    st.tuples(st.just("tensor"), st.integers(0, 99), _axes),
    st.tuples(
        st.just("dilated"), st.integers(0, 99), st.integers(0, 9), st.integers(0, 9), _offsets
    ),
    st.tuples(st.just("global_tokens"), st.integers(0, 99)),
    st.tuples(st.just("prefix"), st.integers(0, 99)),
    st.tuples(st.just("blocks"), st.integers(0, 99), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.just("around"), st.integers(0, 99), st.integers(0, 9)),
)
_masks = st.recursive(
    _leaves,
    lambda m: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), m, m), st.tuples(st.just("not"), m)
    ),
    max_leaves=4,
)
_sizes = st.one_of(st.integers(0, 5), st.integers(1, 70))
_cases = st.builds(
    Case,
    batch=st.integers(1, 3),
    heads_kv=st.integers(1, 3),
    group=st.integers(1, 3),
    len_q=_sizes,
    len_k=_sizes,
    dim=st.integers(1, 70),
    dim_v=st.integers(1, 70),
    dtype=st.sampled_from(["float32", "float32", "bfloat16", "float16", "float64"]),
    layout=st.sampled_from(["bhsd", "bshd"]),
    mask=st.one_of(st.just(()), _masks),
    bias=st.one_of(st.none(), _axes),
    scale=st.one_of(st.none(), st.integers(-20, 20).map(lambda n: n / 10)),
    softcap=st.one_of(st.just(0.0), st.floats(0.5, 20)),
    order=st.permutations(range(4)).map(tuple),
    seed=st.integers(0, 999),
)


def _draw(case):
    generator = torch.Generator().manual_seed(case.seed)
    dtype = getattr(torch, case.dtype)

    def random(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    heads = case.heads_kv * case.group
    q = random(case.batch, heads, case.len_q, case.dim)
    k = random(case.batch, case.heads_kv, case.len_k, case.dim)
    v = random(case.batch, case.heads_kv, case.len_k, case.dim_v)
    inputs = [q, k, v]
    if case.bias is not None:
        sizes = (case.batch, heads, case.len_q, case.len_k)
        inputs.append(random(*(n if keep else 1 for n, keep in zip(sizes, case.bias, strict=True))))
    return inputs, random(case.batch, heads, case.len_q, case.dim_v)


def _in_memory_order(x, order):
    """The same tensor, with its axes in another order in memory."""
    back = [order.index(axis) for axis in range(4)]
    return x.permute(order).contiguous().permute(back)


def _calls(case):
    """The call under test and the oracle's, as functions of (q, k, v[, bias]) in (batch, heads,
    seq, dim)."""
    mask, allowed = _both(case.mask, case) if case.mask else (None, None)

    def ours(q, k, v, bias=None):
        rows = [_in_memory_order(x, case.order) for x in (q, k, v)]
        if case.layout == "bshd":
            rows = [x.transpose(1, 2) for x in rows]
        out = regard.attention(
            *rows, mask=mask, bias=bias, scale=case.scale, softcap=case.softcap, layout=case.layout
        )
        return out.transpose(1, 2) if case.layout == "bshd" else out

    def theirs(q, k, v, bias, function):
        return function(q, k, v, allowed=allowed, bias=bias, scale=case.scale, softcap=case.softcap)

    return ours, theirs


@settings(max_examples=150, deadline=None, derandomize=True, database=None, print_blob=True)
@given(_cases)
def test_any_case_is_the_oracles(case):
    inputs, d_out = _draw(case)
    ours, theirs = _calls(case)
    bias = inputs[3] if case.bias is not None else None
    allowed = _both(case.mask, case)[1] if case.mask else None
    oracle.check_forward(
        ours(*inputs),
        *inputs[:3],
        allowed=allowed,
        bias=bias,
        scale=case.scale,
        softcap=case.softcap,
    )
    actual = oracle.gradients(ours, inputs, d_out)
    if bias is None:
        oracle.check_gradients(actual, inputs, d_out, lambda q, k, v, f: theirs(q, k, v, None, f))
    else:
        oracle.check_gradients(actual, inputs, d_out, lambda q, k, v, b, f: theirs(q, k, v, b, f))
