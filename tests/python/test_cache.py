# SPDX-License-Identifier: Apache-2.0
"""regard.KVCache and regard.PagedCache against the formula, and bit by bit against each other."""

import itertools

import oracle
import pytest
import regard
import torch

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int8]


def _stored(x, dtype):
    """What a cache of this dtype holds of rows x, as float64."""
    if dtype != torch.int8:
        return x.to(dtype).double()
    scale = x.abs().amax(-1, keepdim=True) / 127
    return torch.round(x / scale).clamp(-127, 127).double() * scale.double()


def _check(out, q, k, v, allowed=None, bias=None, scale=None):
    """Within the bar of the query's dtype; k and v as they are stored, in float64."""
    exact, _ = oracle.attention(q, k, v, allowed, bias, scale)
    plain = oracle.standard(q, k.to(q.dtype), v.to(q.dtype), allowed, bias, scale)
    error = (out.double() - exact).abs().max()
    bar = max(2 * (plain.double() - exact).abs().max(), 4 * oracle.EPS[q.dtype] * v.abs().max())
    assert error <= bar, f"{error} from the formula; the bar is {bar}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("query_dtype", [torch.float32, torch.bfloat16])
def test_what_is_appended_is_attended_to(dtype, query_dtype):
    torch.manual_seed(0)
    cache = regard.KVCache(2, 2, 300, 32, dim_v=48, dtype=dtype)
    kept_k, kept_v = [], []
    for step in (200, 1, 3, 1):
        k, v = torch.randn(2, 2, step, 32), torch.randn(2, 2, step, 48)
        cache.append(k, v)
        kept_k.append(_stored(k, dtype))
        kept_v.append(_stored(v, dtype))
        q = torch.randn(2, 6, step, 32, dtype=query_dtype)
        out = cache.attend(q, mask=regard.causal())
        assert out.dtype == query_dtype
        all_k, all_v = torch.cat(kept_k, 2), torch.cat(kept_v, 2)
        _check(out, q, all_k, all_v, oracle.causal(step, all_k.shape[2]))
    assert cache.lengths.tolist() == [205, 205]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("page_size", [16, 48, 256])
def test_pages_change_no_bit(dtype, page_size):
    torch.manual_seed(1)
    lengths = torch.tensor([333, 1, 77])
    k, v = torch.randn(3, 2, 333, 64), torch.randn(3, 2, 333, 64)
    dense = regard.KVCache(3, 2, 333, 64, dtype=dtype)
    dense.append(k, v, counts=lengths)
    paged = regard.PagedCache(40, 2, 64, page_size=page_size, dtype=dtype)
    sequences = [paged.add() for _ in lengths]
    for begin in range(0, 333, 37):
        counts = (lengths - begin).clamp(0, min(37, 333 - begin))
        end = min(begin + 37, 333)
        paged.append(sequences, k[:, :, begin:end], v[:, :, begin:end], counts=counts)
    assert [paged.length(s) for s in sequences] == lengths.tolist()
    for n, mask in itertools.product((1, 4, 20), (None, regard.causal() & regard.window(50, 0))):
        q = torch.randn(3, 4, n, 64)
        expected, lse = dense.attend(q, mask=mask, return_lse=True)
        out, paged_lse = paged.attend(sequences, q, mask=mask, return_lse=True)
        assert torch.equal(out, expected) and torch.equal(paged_lse, lse)


def test_threads_and_batch_change_no_bit():
    torch.manual_seed(2)
    cache = regard.KVCache(2, 1, 5000, 64)
    cache.append(torch.randn(2, 1, 5000, 64), torch.randn(2, 1, 5000, 64))
    q = torch.randn(2, 4, 2, 64)
    expected = cache.attend(q)
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert torch.equal(cache.attend(q), expected)
    finally:
        torch.set_num_threads(threads)
    single = regard.attention(q[1:], cache.keys[1:], cache.values[1:])
    assert torch.equal(single, expected[1:])


def test_a_tree_of_drafted_tokens_and_modifiers():
    torch.manual_seed(3)
    cache = regard.KVCache(1, 2, 120, 32)
    k, v = torch.randn(1, 2, 105, 32), torch.randn(1, 2, 105, 32)
    cache.append(k, v)
    parents = [-1, 0, 0, 2, 1]
    q = torch.randn(1, 4, 5, 32)
    allowed = torch.ones(5, 105, dtype=torch.bool)
    allowed[:, 100:] = False
    for node in range(5):
        at = node
        while at >= 0:
            allowed[node, 100 + at] = True
            at = parents[at]
    bias = torch.randn(1, 4, 5, 105)
    out = cache.attend(q, mask=regard.tree(parents), bias=bias, scale=0.3)
    _check(out, q, k.double(), v.double(), allowed, bias, 0.3)
    cache.truncate(101)
    assert cache.lengths.tolist() == [101]
    _check(cache.attend(q[:, :, :1]), q[:, :, :1], k[:, :, :101].double(), v[:, :, :101].double())


def test_forks_share_pages_until_they_write():
    torch.manual_seed(4)
    cache = regard.PagedCache(8, 1, 16, page_size=16)
    k = torch.randn(1, 1, 40, 16)
    first = cache.add()
    cache.append([first], k, k)
    assert cache.free_pages == 5
    second = cache.fork(first)
    third = cache.fork(first, 16)
    assert cache.free_pages == 5
    more = torch.randn(2, 1, 3, 16)
    cache.append([second, third], more, more)
    assert cache.free_pages == 3  # the copy of a page, and a new one
    q = torch.randn(3, 1, 1, 16)
    out = cache.attend([first, second, third], q)
    for n, rows in enumerate(
        (k, torch.cat((k, more[:1]), 2), torch.cat((k[:, :, :16], more[1:]), 2))
    ):
        _check(out[n : n + 1], q[n : n + 1], rows.double(), rows.double())
    cache.free(first)
    cache.free(second)
    cache.free(third)
    assert cache.free_pages == 8


def test_packed_queries():
    torch.manual_seed(5)
    cache = regard.PagedCache(30, 2, 32, page_size=16)
    sequences = [cache.add() for _ in range(3)]
    k = torch.randn(3, 2, 100, 32)
    cache.append(sequences, k, k, counts=[100, 30, 64])
    cu_q = [0, 1, 31, 33]
    q = torch.randn(33, 4, 32)
    out, lse = cache.attend(sequences, q, cu_q=cu_q, mask=regard.causal(), return_lse=True)
    assert out.shape == (33, 4, 32) and lse.shape == (4, 33)
    for n, sequence in enumerate(sequences):
        rows = slice(cu_q[n], cu_q[n + 1])
        alone = cache.attend([sequence], q[None, rows], mask=regard.causal(), layout="bshd")
        assert torch.equal(out[rows], alone[0])


def test_layouts():
    torch.manual_seed(6)
    rows = torch.randn(2, 50, 2, 32)
    a, b = regard.KVCache(2, 2, 64, 32), regard.KVCache(2, 2, 64, 32)
    a.append(rows, rows, layout="bshd")
    b.append(rows.transpose(1, 2), rows.transpose(1, 2))
    q = torch.randn(2, 3, 4, 32)
    out = a.attend(q, layout="bshd")
    assert torch.equal(out, b.attend(q.transpose(1, 2)).transpose(1, 2))


def test_a_full_cache_says_so_and_loses_nothing():
    cache = regard.KVCache(2, 1, 10, 8)
    rows = torch.ones(2, 1, 6, 8)
    cache.append(rows, rows)
    with pytest.raises(regard.CacheFull, match="sequence 1 has 6 of 10 rows; 5 more do not fit"):
        cache.append(2 * rows, 2 * rows, counts=[4, 5])
    assert cache.lengths.tolist() == [6, 6] and bool((cache.keys[:, :, :6] == 1).all())
    paged = regard.PagedCache(2, 1, 8, page_size=16)
    sequence = paged.add()
    with pytest.raises(regard.CacheFull, match="3 pages of 16 rows are needed, 2 of 2 are free"):
        paged.append([sequence], torch.ones(1, 1, 33, 8), torch.ones(1, 1, 33, 8))
    assert paged.length(sequence) == 0 and paged.free_pages == 2


def test_errors_name_the_argument():
    cache = regard.KVCache(1, 2, 10, 16)
    rows = torch.ones(1, 2, 3, 16)
    with pytest.raises(ValueError, match=r"key: shape \(1, 1, 3, 16\)"):
        cache.append(rows[:, :1], rows[:, :1])
    with pytest.raises(ValueError, match="counts"):
        cache.append(rows, rows, counts=[4])
    with pytest.raises(ValueError, match="must be a multiple"):
        cache.attend(torch.ones(1, 3, 1, 16))
    with pytest.raises(ValueError, match="dtype"):
        regard.KVCache(1, 1, 10, 16, dtype=torch.float64)
    with pytest.raises(ValueError, match="page_size"):
        regard.PagedCache(4, 1, 16, page_size=8)
    with pytest.raises(ValueError, match="lengths"):
        cache.truncate(1)
    paged = regard.PagedCache(4, 1, 16)
    with pytest.raises(ValueError, match="there is no 7"):
        paged.attend([7], torch.ones(1, 1, 1, 16))
    with pytest.raises(RuntimeError, match="no gradient"):
        cache.attend(torch.ones(1, 2, 1, 16, requires_grad=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("group", [1, 3, 8])
def test_attention_with_few_queries(dtype, group):
    torch.manual_seed(7)
    for n, keys in itertools.product((1, 2, 16), (5, 64, 700)):
        q = torch.randn(2, 2 * group, n, 64, dtype=dtype)
        k, v = torch.randn(2, 2, 2, keys, 64, dtype=dtype).unbind()
        for mask, allowed in ((None, None), (regard.causal(), oracle.causal(n, keys))):
            out = regard.attention(q, k, v, mask=mask)
            exact, lse = oracle.attention(q, k, v, allowed)
            plain = oracle.standard(q, k, v, allowed)
            bar = max(
                2 * (plain.double() - exact).abs().max(),
                4 * oracle.EPS[dtype] * v.double().abs().max(),
            )
            assert (out.double() - exact).abs().max() <= bar
            again, own_lse = regard.attention(q, k, v, mask=mask, return_lse=True)
            assert (again.double() - exact).abs().max() <= bar
            torch.testing.assert_close(own_lse.double(), lse, atol=1e-5, rtol=1e-5)
