"""Each mask, and compositions, beside dense boolean matrices built from their definitions."""

import oracle
import pytest
import regard
import torch

BATCH, HEADS, LEN_Q, LEN_K = 2, 3, 45, 77
_allowed = torch.rand(BATCH, 1, LEN_Q, LEN_K) > 0.3
_rows = torch.rand(LEN_Q, 1) > 0.2

CASES = {
    "causal": (lambda: regard.causal(), oracle.causal(LEN_Q, LEN_K)),
    "causal top-left": (lambda: regard.causal(0), oracle.causal(LEN_Q, LEN_K, 0)),
    "causal hides whole rows": (lambda: regard.causal(-9), oracle.causal(LEN_Q, LEN_K, -9)),
    "window": (lambda: regard.window(6, 3), oracle.window(LEN_Q, LEN_K, 6, 3)),
    "window left": (lambda: regard.window(10, -1), oracle.window(LEN_Q, LEN_K, 10, -1)),
    "window right": (lambda: regard.window(-1, 2, offset=5), oracle.window(LEN_Q, LEN_K, -1, 2, 5)),
    "window of one": (lambda: regard.window(0, 0, 0), oracle.window(LEN_Q, LEN_K, 0, 0, 0)),
    "key lengths": (lambda: regard.key_lengths([77, 12]), oracle.key_lengths([77, 12], LEN_K)),
    "key lengths with 0": (lambda: regard.key_lengths(torch.tensor([0, 40], dtype=torch.int32)), oracle.key_lengths([0, 40], LEN_K)),
    "tensor": (lambda: regard.tensor(_allowed), _allowed),
    "tensor of rows": (lambda: regard.tensor(_rows), _rows.expand(LEN_Q, LEN_K)),
    "a boolean tensor itself": (lambda: _allowed, _allowed),
    "and": (lambda: regard.causal() & regard.window(20, -1), oracle.causal(LEN_Q, LEN_K) & oracle.window(LEN_Q, LEN_K, 20, -1)),
    "or": (lambda: regard.causal(0) | regard.tensor(_allowed), oracle.causal(LEN_Q, LEN_K, 0) | _allowed),
    "not": (lambda: ~regard.window(4, 4), ~oracle.window(LEN_Q, LEN_K, 4, 4)),
    "deep": (
        lambda: ~(regard.causal(3) & ~regard.tensor(_allowed)) & regard.key_lengths([70, 33]),
        ~(oracle.causal(LEN_Q, LEN_K, 3) & ~_allowed) & oracle.key_lengths([70, 33], LEN_K),
    ),
}


def draw(dtype):
    return tuple(torch.randn(BATCH, HEADS, n, 16).to(dtype) for n in (LEN_Q, LEN_K, LEN_K))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_mask(name, dtype):
    make, allowed = CASES[name]
    inputs = draw(dtype)
    out, lse = regard.attention(*inputs, mask=make(), return_lse=True)
    oracle.check_forward(out, *inputs, allowed=allowed)
    hidden = ~allowed.any(-1).expand(BATCH, HEADS, LEN_Q)
    assert torch.equal(lse == -torch.inf, hidden)
    assert not out[hidden].any()
    d_out = torch.randn_like(inputs[0])
    actual = oracle.gradients(lambda *x: regard.attention(*x, mask=make()), inputs, d_out)
    assert not actual[0][hidden].any()
    oracle.check_gradients(actual, inputs, d_out, lambda q, k, v, f: f(q, k, v, allowed=allowed))


def test_what_is_hidden_never_leaks():
    q, k, v = draw(torch.float32)
    expected = regard.attention(q, k, v, mask=regard.key_lengths([50, 20]))
    k, v = k.clone(), v.clone()
    for b, n in enumerate((50, 20)):
        k[b, :, n:], v[b, :, n:] = torch.nan, torch.inf
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    out = regard.attention(q, k, v, mask=regard.key_lengths([50, 20]))
    assert torch.equal(out, expected)
    for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
        assert gradient.isfinite().all()


def test_nan_that_is_attended_to_comes_out():
    q, k, v = draw(torch.float32)
    v[0, 1, 5] = torch.nan
    out = regard.attention(q, k, v)
    assert out[0, 1].isnan().all()
    assert out[0, 0].isfinite().all() and out[1].isfinite().all()


INNER = {
    "whole": (lambda: None, lambda len_q, len_k: True),
    "causal": (lambda: regard.causal(), oracle.causal),
    "window": (lambda: regard.window(3, 1), lambda len_q, len_k: oracle.window(len_q, len_k, 3, 1)),
}


@pytest.mark.parametrize("name", INNER)
def test_packed_documents(name):
    cu_q, cu_k = [0, 5, 5, 18, 30], [0, 9, 12, 25, 40]
    make, inner = INNER[name]
    documents = regard.documents(torch.tensor(cu_q, dtype=torch.int32), torch.tensor(cu_k, dtype=torch.int32))
    mask = documents if make() is None else make() & documents
    q, k, v = (torch.randn(n, heads, 16) for n, heads in ((30, 4), (40, 2), (40, 2)))
    allowed = oracle.documents(cu_q, cu_k, 30, 40, inner)

    def dense(q, k, v, f):
        return f(*(x.transpose(0, 1)[None] for x in (q, k, v)), allowed=allowed)[0].transpose(0, 1)

    out, lse = regard.attention(q, k, v, mask=mask, layout="thd", return_lse=True)
    expected = dense(q, k, v, lambda *x, **o: oracle.attention(*x, **o)[0])
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=2e-6)
    assert lse.shape == (4, 30)
    d_out = torch.randn_like(q)
    actual = oracle.gradients(lambda *x: regard.attention(*x, mask=mask, layout="thd"), (q, k, v), d_out)
    oracle.check_gradients(actual, (q, k, v), d_out, dense)
    for n in range(4):  # bit by bit what the document gives alone
        rows, keys = slice(cu_q[n], cu_q[n + 1]), slice(cu_k[n], cu_k[n + 1])
        alone = regard.attention(q[rows], k[keys], v[keys], mask=make(), layout="thd")
        assert torch.equal(out[rows], alone)


def test_masks_say_what_they_are():
    assert repr(regard.causal() & ~regard.window(2, 0)) == "(causal() & ~window(2, 0))"
    assert repr(regard.causal(0)) == "regard.causal(0)"
    with pytest.raises(TypeError):
        regard.causal() & 3
