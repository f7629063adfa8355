# SPDX-License-Identifier: Apache-2.0
"""The second derivative of attention: gradients of its gradients, for gradient penalties, Hessian
-vector products, torch.func.hessian by reverse mode.

There is no kernel for it: PyTorch differentiates the formula of plain.py twice, some rows of the
queries at a time. So memory stays linear in the length, and time is that of PyTorch's operators."""

import torch

from .batched import one_by_one
from .plain import Formula, as_given, canonical, differentiable


class DoubleGradient(torch.autograd.Function):
    """Of the gradients that `wanted` names (see attention_backward), weighted by `arriving` (one
    for each of them, or None): the gradients for (d_out, d_lse, query, key, value, *tensors) that
    `needed` names."""

    @staticmethod
    def forward(ints, floats, order, wanted, needed, count, *inputs):
        return tuple(_second(ints, floats, order, wanted, needed, inputs[:count], *inputs[count:]))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            "regard.attention: triple backward (a gradient of its gradient's gradient) is not"
            " supported"
        )

    @staticmethod
    def vmap(info, in_dims, *inputs):
        results = one_by_one(DoubleGradient.apply, info.batch_size, in_dims, *inputs)
        return tuple(torch.stack(x) for x in results), (0,) * len(results)


def _second(ints, floats, order, wanted, needed, arriving, d_out, d_lse, query, key, value, *given):
    shapes = [None if x is None else x.shape for x in (d_out, d_lse, query, key, value, *given)]
    d_out, query, key, value = (canonical(x, order) for x in (d_out, query, key, value))
    formula = Formula(ints, floats, given, query, key)
    d_lse = None if d_lse is None else d_lse[(None,) * (3 - d_lse.dim())]
    inputs = [d_out, d_lse, query, key, value, *given]
    # for (query, key, value, *tensors): what arrives for the gradient of each
    weights = [None] * (len(inputs) - 2)
    places = [n for n in range(len(weights)) if wanted >> n & 1]
    for place, x in zip(places, arriving, strict=True):
        if x is not None:
            weights[place] = (canonical(x, order) if place < 3 else x).to(formula.wide)
    sums = [
        torch.zeros(x.shape, dtype=formula.wide) if x is not None and needed >> n & 1 else None
        for n, x in enumerate(inputs)
    ]
    for begin, end in formula.blocks:
        _block(formula, begin, end, inputs, weights, sums)
    for n, total in enumerate(sums):
        if total is None:
            continue
        if n in (0, 2, 3, 4):
            total = as_given(total, order, shapes[n])
        yield total.reshape(shapes[n]).to((query if n < 5 else given[n - 5]).dtype)


def _block(formula, begin, end, inputs, weights, sums):
    """Adds what rows [begin, end) of the queries contribute to the sums."""

    def part(n, x):
        """Input n's rows of this block, or all of it."""
        if x is None:
            return None
        if n in (0, 2):
            return x[..., begin:end, :]
        if n == 1:
            return x[..., begin:end]
        return formula.rows_of(x, begin, end) if n >= 5 and formula.by_rows(n - 5) else x

    leaves = [
        None if x is None else part(n, x).detach().requires_grad_(x.is_floating_point())
        for n, x in enumerate(inputs)
    ]
    d_out, d_lse, query, key, value, *tensors = leaves
    with differentiable():
        shares, lse = formula.weights(query, key, tensors, begin, end)
        out = shares @ formula.values(value)
        inner = (out * d_out).sum()
        if d_lse is not None:
            inner = inner + (lse * d_lse).sum()
        asked = [n for n, x in enumerate(weights) if x is not None]
        first = torch.autograd.grad(
            inner, [leaves[n + 2] for n in asked], create_graph=True, allow_unused=True
        )
        outer = [
            (g * part(n + 2, weights[n])).sum()
            for n, g in zip(asked, first, strict=True)
            if g is not None and g.requires_grad
        ]
        if not outer:
            return
        targets = [n for n, x in enumerate(sums) if x is not None]
        second = torch.autograd.grad(sum(outer), [leaves[n] for n in targets], allow_unused=True)
    for n, g in zip(targets, second, strict=True):
        if g is not None:
            part(n, sums[n]).add_(g)
