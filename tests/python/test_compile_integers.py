# SPDX-License-Identifier: Apache-2.0
"""torch.compile leaves integers open: offsets, windows, lengths, seeds, rows of maps that change
from call to call cost at most two compilations (the first takes them for constants)."""

import pytest
import regard
import torch

A = regard.attention


def packed(*tensors):
    return [x[0].transpose(0, 1) for x in tensors]


TABLE = torch.randn(32, 2)
BLOCKS = torch.ones(2, 2, dtype=torch.bool)

CALLS = {  # a function of (query, key, value, n), and the n's
    "causal": (lambda q, k, v, n: A(q, k, v, mask=regard.causal(n)), range(-2, 9)),
    "window, offset": (lambda q, k, v, n: A(q, k, v, mask=regard.window(4, 0, n)), range(12)),
    "window, sides": (lambda q, k, v, n: A(q, k, v, mask=regard.window(n, n + 1)), range(-1, 9)),
    "composed": (
        lambda q, k, v, n: A(
            q, k, v, mask=regard.causal() & regard.window(n, 0) | regard.causal(n)
        ),
        range(12),
    ),
    "dilated": (lambda q, k, v, n: A(q, k, v, mask=regard.dilated(2, 0, n)), range(1, 12)),
    "key lengths": (lambda q, k, v, n: A(q, k, v, mask=regard.key_lengths([n])), range(1, 7)),
    "documents": (
        lambda q, k, v, n: A(
            *packed(q, k, v), mask=regard.documents([0, n, 5], [0, n, 7]), layout="thd"
        ),
        range(5),
    ),
    "prefix": (lambda q, k, v, n: A(q, k, v, mask=regard.prefix([n], n)), range(7)),
    "global tokens": (lambda q, k, v, n: A(q, k, v, mask=regard.global_tokens([0, n])), range(7)),
    "tree": (lambda q, k, v, n: A(q, k, v, mask=regard.tree([-1, 0, n])), range(-1, 2)),
    "blocks": (lambda q, k, v, n: A(q, k, v, mask=regard.blocks(BLOCKS, (4, n))), range(4, 7)),
    "bigbird": (
        lambda q, k, v, n: A(q, k, v, mask=regard.bigbird(1, global_blocks=n, seed=n)),
        range(4),
    ),
    "around": (
        lambda q, k, v, n: A(q, k, v, mask=regard.around(torch.tensor([3.0]), n)),
        range(8),
    ),
    "part": (
        lambda q, k, v, n: A(
            q, k, v, mask=regard.causal(), part=regard.part(n, n + 1, len_q=30 + n, len_k=40 + n)
        ),
        range(12),
    ),
    "part of a state": (
        lambda q, k, v, n: (
            regard.attention_state(q, k, v, part=regard.part(n, 0, len_q=30, len_k=40)).out
        ),
        range(12),
    ),
    "seed": (lambda q, k, v, n: A(q, k, v, dropout_p=0.3, seed=n), range(12)),
    "t5": (
        lambda q, k, v, n: A(q, k, v, modifiers=regard.t5_bias(TABLE, 5, 7, query_offset=n)),
        range(12),
    ),
    "map, one row": (lambda q, k, v, n: regard.attention_map(q, k, rows=n), range(5)),
    "map, rows and columns": (
        lambda q, k, v, n: regard.attention_map(q, k, rows=slice(n, n + 2), cols=slice(n, None)),
        range(4),
    ),
    "map, top": (lambda q, k, v, n: regard.attention_top(q, k, n)[1], range(1, 7)),
    "map, picture": (lambda q, k, v, n: regard.attention_picture(q, k, (2, n)), range(1, 7)),
}


class Counting:
    """A backend that counts what it compiles."""

    def __init__(self):
        self.count = 0

    def __call__(self, module, inputs):
        self.count += 1
        return torch._dynamo.lookup_backend("aot_eager")(module, inputs)


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", CALLS)
def test_at_most_two_compilations(name):
    function, numbers = CALLS[name]
    inputs = [torch.randn(1, 2, n, 8) for n in (5, 7, 7)]
    backend = Counting()
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    for n in numbers:
        # a document of one query takes the decode pass in eager code, and the general one here
        torch.testing.assert_close(compiled(*inputs, n), function(*inputs, n), rtol=1e-5, atol=1e-6)
    assert 1 <= backend.count <= 2


def test_a_decoders_loop():
    """Keys grow by one a step, and so does what the masks say of them."""
    key = torch.randn(1, 2, 1001, 8)
    query = torch.randn(1, 2, 1, 8)
    backend = Counting()

    def step(q, k, n):
        return A(q, k, k, mask=regard.causal(n - 1) & regard.window(8, 0, n - 1))

    compiled = torch.compile(step, fullgraph=True, backend=backend)
    for n in range(1, 1001):
        out = compiled(query, key[:, :, :n], n)
        if n % 100 == 1:
            # In eager code a step takes the decode pass, which rounds in another order.
            torch.testing.assert_close(out, step(query, key[:, :, :n], n))
    assert backend.count <= 2


def test_gradients_with_open_integers():
    inputs = [torch.randn(1, 2, n, 8, requires_grad=True) for n in (5, 7, 7)]
    backend = Counting()

    def call(q, k, v, n):
        return A(q, k, v, mask=regard.window(n, 0), dropout_p=0.2, seed=n).square().sum()

    compiled = torch.compile(call, fullgraph=True, backend=backend)
    for n in range(6):
        actual = torch.autograd.grad(compiled(*inputs, n), inputs)
        expected = torch.autograd.grad(call(*inputs, n), inputs)
        assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))
    assert backend.count <= 2


def test_a_number_out_of_range_is_named():
    inputs = [torch.randn(1, 2, n, 8) for n in (5, 7, 7)]
    compiled = torch.compile(lambda q, k, v, n: A(q, k, v, mask=regard.window(n, 0)))
    compiled(*inputs, 1)
    with pytest.raises(Exception, match="window: left"):
        compiled(*inputs, -5)
