# SPDX-License-Identifier: Apache-2.0
"""Each mask, and compositions, beside dense boolean matrices built from their definitions."""

import oracle
import pytest
import regard
import torch

BATCH, HEADS, LEN_Q, LEN_K = 2, 3, 45, 77
_allowed = torch.rand(BATCH, 1, LEN_Q, LEN_K) > 0.3
_rows = torch.rand(LEN_Q, 1) > 0.2

_layout = torch.rand(HEADS, 5, 8) > 0.5  # blocks of 10 queries and 10 keys
_centres = torch.rand(BATCH, 1, LEN_Q) * 90 - 5
_parents = [[-1, 0, 0, 1, 1, 2, 5, -1, 7], [-1, -1, 1, 2, 3, 3, 0, 6, 7]]
_tokens = [[0, 40, 76], [33, 32]]

CASES = {
    "dilated": (lambda: regard.dilated(6, 2, 3), oracle.dilated(LEN_Q, LEN_K, 6, 2, [3])),
    "dilated by head": (
        lambda: regard.dilated(5, 5, [1, 2, 9], -4),
        oracle.dilated(LEN_Q, LEN_K, 5, 5, [1, 2, 9], -4),
    ),
    "global tokens": (
        lambda: regard.global_tokens([76, 0, 40]),
        oracle.global_tokens(LEN_Q, LEN_K, [0, 40, 76]),
    ),
    "no global tokens": (lambda: regard.global_tokens([]), oracle.global_tokens(LEN_Q, LEN_K, [])),
    "global tokens by batch": (
        lambda: regard.global_tokens([_tokens[0], [*_tokens[1], -1]]),
        torch.stack([oracle.global_tokens(LEN_Q, LEN_K, tokens) for tokens in _tokens])[:, None],
    ),
    "longformer": (
        lambda: regard.dilated(4, 4, 2) | regard.global_tokens([0, 40]),
        oracle.dilated(LEN_Q, LEN_K, 4, 4, [2]) | oracle.global_tokens(LEN_Q, LEN_K, [0, 40]),
    ),
    "blocks": (lambda: regard.blocks(_layout, 10), oracle.blocks(_layout, LEN_Q, LEN_K, 10, 10)),
    "blocks of one head": (
        lambda: regard.blocks(_layout[0], (9, 10)),
        oracle.blocks(_layout[0], LEN_Q, LEN_K, 9, 10),
    ),
    "bigbird without chance": (
        lambda: regard.bigbird(11, window=3, global_blocks=2, random_blocks=0),
        oracle.blocks(
            torch.tensor(
                [
                    [abs(i + 2 - j) <= 1 or i in (0, 4) or j in (0, 6) for j in range(7)]
                    for i in range(5)
                ]
            ),
            LEN_Q,
            LEN_K,
            11,
            11,
        ),
    ),
    "bigbird of everything": (
        lambda: regard.bigbird(16, random_blocks=99),
        torch.ones(LEN_Q, LEN_K, dtype=torch.bool),
    ),
    "prefix": (lambda: regard.prefix([50, 12]), oracle.prefix([50, 12], LEN_Q, LEN_K)),
    "tree": (lambda: regard.tree(_parents[0]), oracle.tree(_parents[0], LEN_Q, LEN_K)),
    "tree by batch": (
        lambda: regard.tree(torch.tensor(_parents, dtype=torch.int32)),
        torch.stack([oracle.tree(parents, LEN_Q, LEN_K) for parents in _parents])[:, None],
    ),
    "around": (lambda: regard.around(_centres, 4), oracle.around(_centres, LEN_K, 4)),
    "around by row": (
        lambda: regard.around(_centres[0, 0].double(), 9),
        oracle.around(_centres[0, 0], LEN_K, 9),
    ),
    "local-m": (lambda: regard.window(7, 7, 0), oracle.around(torch.arange(LEN_Q), LEN_K, 7)),
    "sparse, composed": (
        lambda: (
            (regard.dilated(9, 9, [4, 1, 2]) | regard.global_tokens([3]))
            & ~regard.blocks(_layout, 10)
            | regard.around(_centres, 2)
        ),
        (oracle.dilated(LEN_Q, LEN_K, 9, 9, [4, 1, 2]) | oracle.global_tokens(LEN_Q, LEN_K, [3]))
        & ~oracle.blocks(_layout, LEN_Q, LEN_K, 10, 10)
        | oracle.around(_centres, LEN_K, 2),
    ),
    "causal": (lambda: regard.causal(), oracle.causal(LEN_Q, LEN_K)),
    "causal top-left": (lambda: regard.causal(0), oracle.causal(LEN_Q, LEN_K, 0)),
    "causal hides whole rows": (lambda: regard.causal(-9), oracle.causal(LEN_Q, LEN_K, -9)),
    "window": (lambda: regard.window(6, 3), oracle.window(LEN_Q, LEN_K, 6, 3)),
    "window left": (lambda: regard.window(10, -1), oracle.window(LEN_Q, LEN_K, 10, -1)),
    "window right": (lambda: regard.window(-1, 2, offset=5), oracle.window(LEN_Q, LEN_K, -1, 2, 5)),
    "window of one": (lambda: regard.window(0, 0, 0), oracle.window(LEN_Q, LEN_K, 0, 0, 0)),
    "key lengths": (lambda: regard.key_lengths([77, 12]), oracle.key_lengths([77, 12], LEN_K)),
    "key lengths with 0": (
        lambda: regard.key_lengths(torch.tensor([0, 40], dtype=torch.int32)),
        oracle.key_lengths([0, 40], LEN_K),
    ),
    "tensor": (lambda: regard.tensor(_allowed), _allowed),
    "tensor of rows": (lambda: regard.tensor(_rows), _rows.expand(LEN_Q, LEN_K)),
    "a boolean tensor itself": (lambda: _allowed, _allowed),
    "and": (
        lambda: regard.causal() & regard.window(20, -1),
        oracle.causal(LEN_Q, LEN_K) & oracle.window(LEN_Q, LEN_K, 20, -1),
    ),
    "or": (
        lambda: regard.causal(0) | regard.tensor(_allowed),
        oracle.causal(LEN_Q, LEN_K, 0) | _allowed,
    ),
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
    documents = regard.documents(
        torch.tensor(cu_q, dtype=torch.int32), torch.tensor(cu_k, dtype=torch.int32)
    )
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
    actual = oracle.gradients(
        lambda *x: regard.attention(*x, mask=mask, layout="thd"), (q, k, v), d_out
    )
    oracle.check_gradients(actual, (q, k, v), d_out, dense)
    for n in range(4):  # bit by bit what the document gives alone
        rows, keys = slice(cu_q[n], cu_q[n + 1]), slice(cu_k[n], cu_k[n + 1])
        alone = regard.attention(q[rows], k[keys], v[keys], mask=make(), layout="thd")
        assert torch.equal(out[rows], alone)


def test_bigbird_draws_blocks_by_seed_and_head():
    n, size = 640, 16  # 40 blocks; 38 rows of blocks that are not global
    q, eye = torch.zeros(1, 2, n, 8), torch.eye(n).expand(1, 2, n, n)

    def seen(seed):  # the weights themselves, a block of values of 512 at most at a time
        mask = regard.bigbird(size, window=3, global_blocks=2, random_blocks=4, seed=seed)
        parts = [regard.attention(q, q, eye[..., c : c + 320], mask=mask) for c in (0, 320)]
        return (torch.cat(parts, -1)[0, :, ::size, ::size] > 0).int()

    drawn = seen(3)
    # window 3, global 2 (the first and the last row of blocks see one of these in their window),
    # random 4
    inner = drawn[:, 1:-1].sum(-1)
    assert inner[:, 1:-1].eq(9).all() and inner[:, [0, -1]].eq(8).all()
    assert drawn[:, [0, -1]].all() and drawn[..., [0, -1]].all()
    assert torch.equal(drawn, seen(3))
    assert not torch.equal(drawn, seen(4)) and not torch.equal(drawn[0], drawn[1])


def test_speculative_decoding_in_one_pass():
    """Each node's output is what decoding its branch alone, token by token, gives."""
    past, parents = 20, [-1, 0, 0, 1, 2, 2]
    q = torch.randn(1, 2, len(parents), 16)
    k, v = (torch.randn(1, 2, past + len(parents), 16) for _ in range(2))
    out = regard.attention(q, k, v, mask=regard.tree(parents))
    for node in range(len(parents)):
        branch, n = [], node
        while n >= 0:
            branch.insert(0, past + n)
            n = parents[n]
        keys = [*range(past), *branch]
        alone = regard.attention(q[:, :, node : node + 1], k[:, :, keys], v[:, :, keys])
        torch.testing.assert_close(out[:, :, node : node + 1], alone, rtol=1e-5, atol=1e-6)


WRONG = {
    "left": lambda: regard.dilated(-2, 0, 1),
    "right": lambda: regard.dilated(0, 1.5, 1),
    "dilation": lambda: regard.dilated(1, 1, [1.0, 2.0]),
    "tokens": lambda: regard.global_tokens([[[1]]]),
    "layout": lambda: regard.blocks(torch.ones(2, 2), 8),
    "block_size": lambda: regard.blocks(_layout, (8, 0)),
    "window": lambda: regard.bigbird(window=-1),
    "seed": lambda: regard.bigbird(seed=2**64),
    "lengths": lambda: regard.prefix(4),
    "parents": lambda: regard.tree([-1, 0.5]),
    "centres": lambda: regard.around(torch.arange(4), 2),
    "width": lambda: regard.around(_centres, -2),
}
# What only the lengths show.
MISFITS = {
    "dilations": lambda: regard.dilated(1, 1, [1, 2]),
    "token 77": lambda: regard.global_tokens([77]),
    "layout": lambda: regard.blocks(_layout, 11),
    "lengths": lambda: regard.prefix([1, 2, 3]),
    "nodes": lambda: regard.tree([-1] * 78),
    "parent": lambda: regard.tree([-1, 1]),
    "centres": lambda: regard.around(_centres[..., 1:], 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_masks_that_make_no_sense(name):
    with pytest.raises(ValueError, match=name):
        WRONG[name]()


@pytest.mark.parametrize("name", MISFITS)
def test_masks_for_other_tensors(name):
    with pytest.raises(ValueError, match=name):
        regard.attention(*draw(torch.float32), mask=MISFITS[name]())


def test_centres_get_no_gradient():
    centres = _centres.clone().requires_grad_()
    q, k, v = (x.requires_grad_() for x in draw(torch.float32))
    regard.attention(q, k, v, mask=regard.around(centres, 4)).sum().backward()
    assert q.grad is not None and centres.grad is None


def test_masks_say_what_they_are():
    assert (
        repr(regard.dilated(2, 0, 4) | regard.bigbird(32, seed=7))
        == "(dilated(2, 0, 4) | bigbird(32, window=3, global_blocks=2, random_blocks=3, seed=7))"
    )
    assert repr(regard.causal() & ~regard.window(2, 0)) == "(causal() & ~window(2, 0))"
    assert repr(regard.causal(0)) == "regard.causal(0)"
    with pytest.raises(TypeError):
        regard.causal() & 3
