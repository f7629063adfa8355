# SPDX-License-Identifier: Apache-2.0
"""A score of one's own, compiled by numba, inside the fused kernels: forward, backward, and no n
x n matrix.

    ./dev run python examples/numba_function.py

Regard calls the function for each tile of scores and its derivative for each tile of gradients.
Here a score saturates softly and
pays for distance:

    f(s, i, j) = cap * s / (cap + |s|) - slope * sqrt(|i - j|)      df/ds = (cap / (cap + |s|))^2
"""

import math
import time

import numba
import numpy as np
import regard
import torch
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

CAP, SLOPE = 4.0, 0.25

# FunctionTile of include/regard/modifier.h.
FIELDS = [("data", np.uintp), ("scores", np.uintp)]
FIELDS += [
    (name, np.int64) for name in ("rows", "columns", "stride", "query", "key", "batch", "head")
]
FIELDS += [("is_double", np.int32)]
TILE = types.CPointer(numba.from_dtype(np.dtype(FIELDS, align=True)))


@intrinsic
def pointer(context, address):
    """An address as something that numba.carray takes."""

    def generate(_, builder, __, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@numba.njit(error_model="numpy")
def change(scores, tile):
    for r in range(tile.rows):
        for c in range(tile.columns):
            distance = abs(tile.query + r - tile.key - c)
            scores[r, c] = CAP * scores[r, c] / (CAP + abs(scores[r, c])) - SLOPE * math.sqrt(
                distance
            )


@numba.njit(error_model="numpy")
def derivative(gradients, scores, tile):
    for r in range(tile.rows):
        for c in range(tile.columns):
            gradients[r, c] *= (CAP / (CAP + abs(scores[r, c]))) ** 2


@numba.cfunc(types.void(TILE, types.voidptr))
def apply(tiles, _):
    tile = numba.carray(tiles, 1)[0]
    shape = (tile.rows, tile.stride)  # rows lie `stride` elements apart; `columns` of them count
    if tile.is_double:
        change(numba.carray(pointer(tile.data), shape, numba.float64), tile)
    else:
        change(numba.carray(pointer(tile.data), shape, numba.float32), tile)


@numba.cfunc(types.void(TILE, types.voidptr))
def derive(tiles, _):
    tile = numba.carray(tiles, 1)[0]
    shape = (tile.rows, tile.stride)
    if tile.is_double:
        derivative(
            numba.carray(pointer(tile.data), shape, numba.float64),
            numba.carray(pointer(tile.scores), shape, numba.float64),
            tile,
        )
    else:
        derivative(
            numba.carray(pointer(tile.data), shape, numba.float32),
            numba.carray(pointer(tile.scores), shape, numba.float32),
            tile,
        )


def ours(q, k, v):
    return regard.attention(q, k, v, mask=regard.causal(), modifiers=regard.function(apply, derive))


def formula(q, k, v):
    """The same with matrices, for comparison."""
    i, j = torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2])
    s = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    s = CAP * s / (CAP + s.abs()) - SLOPE * (i - j).abs().to(s.dtype).sqrt()
    return torch.softmax(s.masked_fill(j > i, -math.inf), dim=-1) @ v


def check():
    """Results and gradients beside autograd's of the formula."""
    torch.manual_seed(0)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        inputs = [torch.randn(1, 4, 300, 64, dtype=dtype, requires_grad=True) for _ in range(3)]
        results = []
        for call in (ours, formula):
            out = call(*inputs)
            results.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
        for name, a, b in zip(("out", "dq", "dk", "dv"), *results, strict=True):
            difference = ((a - b).abs().max() / b.abs().max()).item()
            print(f"{dtype}, {name}: differs from autograd by {difference:.1e}")
            assert difference < tolerance

    small = [torch.randn(1, 2, 20, 16, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    torch.autograd.gradcheck(ours, small)
    print("gradcheck: passed")


def main():
    check()
    q, k, v = (torch.randn(1, 8, 2048, 64) for _ in range(3))
    for call in (ours, formula):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            call(q, k, v)
            times.append(time.perf_counter() - start)
        print(f"{call.__name__}, n=2048: {sorted(times)[2] * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
