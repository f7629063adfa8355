# SPDX-License-Identifier: Apache-2.0
"""torch.func: grad, vmap (over each input alone, nested, with bias and masks), and both
together."""

import itertools

import pytest
import regard
import torch
from torch.func import grad, vjp, vmap


def loss(q, k, v, **options):
    return regard.attention(q, k, v, **options).square().sum()


def draw(*lead):
    return tuple(torch.randn(*lead, n, 6, dtype=torch.float64) for n in (5, 7, 7))


@pytest.mark.parametrize("options", [{}, dict(mask=regard.causal()), dict(softcap=1.5)], ids=str)
def test_grad_is_autograd(options):
    inputs = draw(2, 3)
    actual = grad(lambda *x: loss(*x, **options), argnums=(0, 1, 2))(*inputs)
    leaves = [x.clone().requires_grad_() for x in inputs]
    expected = torch.autograd.grad(loss(*leaves, **options), leaves)
    torch.testing.assert_close(actual, expected)
    assert all(g.abs().max() > 0 for g in actual)


def test_vjp_through_lse():
    inputs = draw(2, 3)
    (out, lse), pull = vjp(lambda *x: regard.attention(*x, return_lse=True), *inputs)
    d_out, d_lse = torch.randn_like(out), torch.randn_like(lse)
    leaves = [x.clone().requires_grad_() for x in inputs]
    expected = torch.autograd.grad(
        regard.attention(*leaves, return_lse=True), leaves, (d_out, d_lse)
    )
    torch.testing.assert_close(pull((d_out, d_lse)), expected)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize(
    "in_dims",
    [d for d in itertools.product((0, None, 1), repeat=3) if any(x is not None for x in d)],
    ids=str,
)
def test_vmap(lead, in_dims):
    inputs = []
    for x, d in zip(draw(4, *lead), in_dims, strict=True):
        inputs.append(x[0] if d is None else x.movedim(0, d))
    out, lse = vmap(lambda *x: regard.attention(*x, return_lse=True), in_dims=in_dims)(*inputs)
    for i in range(4):
        one = [x if d is None else x.select(d, i) for x, d in zip(inputs, in_dims, strict=True)]
        expected, expected_lse = regard.attention(*one, return_lse=True)
        torch.testing.assert_close(out[i], expected)
        torch.testing.assert_close(lse[i], expected_lse)


@pytest.mark.parametrize("shape", [(5, 7), (3, 1, 7), (1, 3, 5, 7), (2, 1, 5, 7)], ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_per_sample_gradients_with_bias(shape, batched):
    q, k, v = draw(4, 2, 3)
    bias = (
        torch.randn(4, *shape, dtype=torch.float64)
        if batched
        else torch.randn(shape, dtype=torch.float64)
    )

    def one(q, k, v, bias):
        return loss(q, k, v, bias=bias)

    actual = vmap(grad(one, argnums=(0, 1, 2, 3)), in_dims=(0, 0, 0, 0 if batched else None))(
        q, k, v, bias
    )
    for i in range(4):
        leaves = [
            x.clone().requires_grad_() for x in (q[i], k[i], v[i], bias[i] if batched else bias)
        ]
        expected = torch.autograd.grad(one(*leaves), leaves)
        torch.testing.assert_close(tuple(a[i] for a in actual), expected)


def test_gradient_of_a_vmap():
    q, k, v = draw(4, 3)
    mask = torch.rand(4, 5, 7) > 0.3

    def batched(q):
        return vmap(lambda q, k, v, m: loss(q, k, v, mask=m))(q, k, v, mask).sum()

    leaf = q.clone().requires_grad_()
    expected = torch.autograd.grad(loss(leaf, k, v, mask=mask[:, None]), leaf)[0]
    torch.testing.assert_close(grad(batched)(q), expected)


def test_nested_vmap():
    q, k, v = draw(2, 4, 3)
    torch.testing.assert_close(vmap(vmap(regard.attention))(q, k, v), regard.attention(q, k, v))


def test_dropout_has_the_gradient_of_its_mask():
    inputs = draw(2, 3)
    torch.manual_seed(1)
    actual = grad(lambda *x: loss(*x, dropout_p=0.4), argnums=(0, 1, 2))(*inputs)
    torch.manual_seed(1)
    leaves = [x.clone().requires_grad_() for x in inputs]
    torch.testing.assert_close(actual, torch.autograd.grad(loss(*leaves, dropout_p=0.4), leaves))


CODES = dict(query_code=torch.arange(5), key_code=torch.arange(7), shift=4)

# what cannot become part of the batch: a tensor that may be batched, and the options made of it
ONE_BY_ONE = {
    "sinks": (
        lambda: torch.randn(4, 3, 2, dtype=torch.float64),
        lambda x: dict(modifiers=regard.sinks(x)),
    ),
    "temperature": (
        lambda: torch.rand(4, 3, dtype=torch.float64) + 0.5,
        lambda x: dict(modifiers=regard.temperature(x)),
    ),
    "seed": (lambda: torch.arange(4), lambda x: dict(dropout_p=0.4, seed=x)),
    "relative bias": (
        lambda: torch.randn(4, 11, 3, dtype=torch.float64),
        lambda x: dict(modifiers=regard.relative_bias(x, torch.arange(11), **CODES)),
    ),
    "global tokens": (
        lambda: torch.tensor([[0], [1], [2], [6]]),
        lambda x: dict(mask=regard.window(1, 1) | regard.global_tokens(x)),
    ),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
@pytest.mark.parametrize("batched", [True, False])
def test_vmap_one_by_one(name, batched):
    q, k, v = draw(4, 3)
    make, options = ONE_BY_ONE[name]
    x = make()
    own = list(x) if batched else [x[0]] * 4

    def f(q, k, v, x):
        return regard.attention(q, k, v, **options(x))

    actual = vmap(f, in_dims=(0, 0, 0, 0 if batched else None))(q, k, v, x if batched else x[0])
    torch.testing.assert_close(
        actual, torch.stack([f(*inputs) for inputs in zip(q, k, v, own, strict=True)])
    )
    if x.is_floating_point():
        arguments = (0, 1, 2, 3)
        actual = vmap(
            grad(lambda *a: f(*a).square().sum(), arguments),
            in_dims=(0, 0, 0, 0 if batched else None),
        )(q, k, v, x if batched else x[0])
        for i in range(4):
            leaves = [a.clone().requires_grad_() for a in (q[i], k[i], v[i], own[i])]
            expected = torch.autograd.grad(f(*leaves).square().sum(), leaves)
            torch.testing.assert_close(tuple(a[i] for a in actual), expected)


def test_vmap_of_packed_sequences():
    q, k, v = (torch.randn(4, n, 3, 8, dtype=torch.float64) for n in (5, 7, 7))
    options = dict(
        layout="thd", mask=regard.documents(torch.tensor([0, 2, 5]), torch.tensor([0, 3, 7]))
    )
    actual = vmap(lambda *x: regard.attention(*x, **options))(q, k, v)
    torch.testing.assert_close(
        actual, torch.stack([regard.attention(*x, **options) for x in zip(q, k, v, strict=True)])
    )


def test_jacobian_of_sinks():
    q, k, v = draw(3)
    logits = torch.randn(3, 2, dtype=torch.float64)

    def plain_with_sinks(logits):
        s = torch.cat(
            [q @ k.mT / q.shape[-1] ** 0.5, logits[:, None].expand(-1, q.shape[1], -1)], -1
        )
        return torch.softmax(s, -1)[..., : k.shape[1]] @ v

    ours = torch.func.jacrev(
        lambda logits: regard.attention(q, k, v, modifiers=regard.sinks(logits))
    )(logits)
    torch.testing.assert_close(ours, torch.func.jacrev(plain_with_sinks)(logits))


def plain(q, k, v):
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v


@pytest.mark.parametrize("lead", [(), (3,), (1, 3), (2, 3), (1, 1)], ids=str)
def test_gradients_batched_alone(lead):
    """What arrives is batched while query, key and value are not: their statistics are repeated
    without being copied."""
    inputs = draw(*lead)
    for argument in range(3):
        ours, theirs = (
            torch.func.jacrev(f, argnums=argument)(*inputs) for f in (regard.attention, plain)
        )
        torch.testing.assert_close(ours, theirs)
    out, pull = vjp(regard.attention, *inputs)
    arriving = torch.randn(4, *out.shape, dtype=out.dtype)
    torch.testing.assert_close(
        vmap(pull)(arriving), tuple(torch.stack(g) for g in zip(*map(pull, arriving), strict=True))
    )
