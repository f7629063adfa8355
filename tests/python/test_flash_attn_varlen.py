# SPDX-License-Identifier: Apache-2.0
"""regard.flash_attn's functions for packed sequences: each sequence beside the formula alone."""

import flash_formula as formula
import oracle
import pytest
import torch
from regard import flash_attn as fa

GRID = dict(
    packed=["no", "kv", "qkv"],
    dtype=[torch.float16, torch.bfloat16, torch.float32],
    heads=["mha", "mqa", "gqa"],
    alibi=["no", "heads", "batch"],
    window=[(-1, -1), (-1, -1), (17, 0), (30, 9), (-1, 5), (7, -1)],
    causal=[False, True],
    dim=[32, 59, 64, 80, 128, 256],
    lengths=[
        ([113, 1, 0, 40], [203, 5, 7, 0]),
        ([64, 33], [64, 90]),
        ([5, 70, 20], [3, 50, 61]),
        ([1, 1, 1, 1], [91, 17, 1, 64]),
        ([1023, 5], [1024, 300]),
    ],
    dropout_p=[0.0, 0.0, 0.17],
    softcap=[0.0, 0.0, 5.0],
    page=[None, None, 16],
)
LONGEST = GRID | dict(lengths=[([2048, 700], [2048, 1500])], dim=[64, 128], page=[None, 256])


def cumulative(lengths):
    return torch.tensor([0, *lengths]).cumsum(0).int()


def paged(k, v, lengths, size):
    """(pages of k, pages of v, block_table) with the pages of all sequences shuffled."""
    counts = [-(-n // size) for n in lengths]
    numbers = torch.randperm(sum(counts) + 2).int()
    table = torch.zeros(len(lengths), max(counts), dtype=torch.int32)
    pages = [torch.randn(sum(counts) + 2, size, *x.shape[1:]).to(x.dtype) for x in (k, v)]
    used, row = 0, 0
    for n, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        table[n, :count] = numbers[used : used + count]
        for x, cache in zip((k, v), pages, strict=True):
            for i in range(length):
                cache[table[n, i // size], i % size] = x[row + i].detach()
        used, row = used + count, row + length
    return *pages, table


@pytest.mark.parametrize(
    "case",
    formula.sampled(18, GRID) + formula.sampled(3, LONGEST),
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_output_and_gradients(case):
    heads, heads_k = formula.heads_of(case["heads"])
    lengths_q, lengths_k = case["lengths"]
    dropout_p, dtype, dim = case["dropout_p"], case["dtype"], case["dim"]
    if case["packed"] == "qkv":
        heads_k, lengths_k = heads, lengths_q
    cu_q, cu_k = cumulative(lengths_q), cumulative(lengths_k)
    longest = max(lengths_q), max(lengths_k)
    slopes = formula.slopes_of(case["alibi"], len(lengths_q), heads)
    q = torch.randn(sum(lengths_q), heads, dim).to(dtype).requires_grad_()
    k, v = (torch.randn(sum(lengths_k), heads_k, dim).to(dtype).requires_grad_() for _ in range(2))
    options = dict(causal=case["causal"], window_size=case["window"], softcap=case["softcap"])
    options |= dict(alibi_slopes=slopes, dropout_p=dropout_p, return_attn_probs=True)
    with_table = case["packed"] == "no" and case["page"] is not None
    if case["packed"] == "qkv":
        qkv = torch.stack((q, k, v), 1)
        result = fa.flash_attn_varlen_qkvpacked_func(qkv, cu_q, longest[0], **options)
    elif case["packed"] == "kv":
        kv = torch.stack((k, v), 1)
        result = fa.flash_attn_varlen_kvpacked_func(q, kv, cu_q, cu_k, *longest, **options)
    elif with_table:
        pages_k, pages_v, table = paged(k, v, lengths_k, case["page"])
        options["block_table"] = table
        result = fa.flash_attn_varlen_func(q, pages_k, pages_v, cu_q, cu_k, *longest, **options)
    else:
        result = fa.flash_attn_varlen_func(q, k, v, cu_q, cu_k, *longest, **options)
    out, lse, shown = result
    assert lse.shape == (heads, sum(lengths_q))
    if dropout_p:
        assert shown.shape == (len(lengths_q), heads, *longest)

    g = torch.randn_like(out)
    inputs = (q,) if with_table else (q, k, v)
    gradients = torch.autograd.grad(out, inputs, g)
    exact, usual = [[] for _ in range(5)], [[] for _ in range(4)]  # out, dq, dk, dv, lse
    for n, (a, b) in enumerate(zip(lengths_q, lengths_k, strict=True)):
        rows, cols = slice(cu_q[n], cu_q[n + 1]), slice(cu_k[n], cu_k[n + 1])
        kept = (shown[n : n + 1, :, :a, :b] >= 0) / (1 - dropout_p) if dropout_p else None
        own = slopes[n] if case["alibi"] == "batch" else slopes
        what = dict(causal=case["causal"], window=case["window"], slopes=own)
        what |= dict(softcap=case["softcap"], kept=kept)
        alone = [x[None, part] for x, part in ((q, rows), (k, cols), (v, cols))]
        if a == 0 or b == 0:  # nothing is seen: zeros
            wide = [x.detach().double() * 0 for x in alone]
            results = (wide[0], exact_nothing(heads, a), wide)
            standard, gradients_too = wide[0], wide
        else:
            results = formula.with_gradients(*alone, g[None, rows], **what)
            standard = formula.sequence(*alone, how=oracle.standard, **what)
            gradients_too = torch.autograd.grad(standard, alone, g[None, rows])
        for column, x in zip(exact, (results[0], *results[2], results[1]), strict=True):
            column.append(x[0])
        for column, x in zip(usual, (standard, *gradients_too), strict=True):
            column.append(x[0])
    formula.check_lse(lse, torch.cat(exact.pop(), 1), dtype)
    for name, actual, e, u in zip(
        ("out", "dq", "dk", "dv"), (out, *gradients), exact, usual, strict=False
    ):
        formula.close(name, actual, torch.cat(e), torch.cat(u), 2 if name == "out" else 3)


def exact_nothing(heads, rows):
    return torch.full((1, heads, rows), torch.inf, dtype=torch.float64)


def x(*shape):
    return torch.zeros(shape)


CU = cumulative([3, 4])
PAGES = x(4, 16, 2, 8)
WRONG = {
    "cu_seqlens_q, floats": (
        dict(cu_seqlens_q=CU.float()),
        "cu_seqlens_q: torch.float32; expected",
    ),
    "cu_seqlens_k, another batch": (dict(cu_seqlens_k=cumulative([7])), r"cu_seqlens_k: shape \(2"),
    "cu_seqlens_q, past the end": (dict(cu_seqlens_q=cumulative([3, 9])), "cu_q.*ends at 12"),
    "rank": (dict(q=x(1, 7, 4, 8)), r"q: shape \(1, 7, 4, 8\); expected \(total_q, heads, dim\)"),
    "pages": (
        dict(block_table=torch.zeros(2, 1).int()),
        r"k: shape \(7, 2, 8\); expected \(num_bl",
    ),
    "a page that is not there": (
        dict(k=PAGES, v=PAGES, block_table=torch.full((2, 1), 4).int()),
        "block_table: pages from 4 to 4; expected 0 to 3",
    ),
    "too few pages": (
        dict(k=PAGES, v=PAGES, block_table=torch.zeros(2, 1).int(), cu_seqlens_k=CU * 9),
        "block_table: 1 pages of 16 keys for a sequence, which has 27",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_name_their_argument(name):
    changes, expected = WRONG[name]
    call = dict(q=x(7, 4, 8), k=x(7, 2, 8), v=x(7, 2, 8), cu_seqlens_q=CU, cu_seqlens_k=CU)
    with pytest.raises(ValueError, match=expected):
        fa.flash_attn_varlen_func(**(call | changes), max_seqlen_q=4, max_seqlen_k=4)
