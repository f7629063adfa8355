# SPDX-License-Identifier: Apache-2.0
"""Looking at attention: exact weights and what is made of them, recomputed from query and key.
Nothing of size n x n is held; memory is that of the answer.

All functions take the options of regard.attention (mask, score, modifiers, scale, softcap, bias,
dropout_p, seed, layout, plan, part) and mean the weights that it multiplies values with: a row
adds up to 1, or to what sinks, dropout or a multiplier leave of it. Answers are float32 (float64
for float64 inputs) and carry no gradients. Formulas: include/regard/map.h.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..score import PreparedKeys
from . import ops_library as ops
from .attention import _transforms, prepared
from .axes import check_tensors
from .explain import explained
from .numbers import whole
from .types import Wanted

_POOLINGS = ("max", "mean", "sum")


def _fake(
    query,
    key,
    maximum,
    log_sum,
    row_weights,
    ints,
    floats,
    tensors,
    order,
    plan,
    kind,
    region,
    mean_heads,
    size,
    pooling,
):
    batches, heads, rows, cols = (
        end - begin for begin, end in zip(region[::2], region[1::2], strict=True)
    )
    vectors = 1 if row_weights is None else row_weights.shape[-2]
    sizes = {
        "weights": (rows, cols),
        "picture": size,
        "entropy": (rows, 1),
        "top": (rows, *size),
        "column_sums": (vectors, cols),
    }[kind]
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    answer = query.new_empty((batches, 1 if mean_heads else heads, *sizes), dtype=wide)
    if kind == "top":
        return [answer, query.new_empty(answer.shape, dtype=torch.int64)]
    return [answer]


def _fake_rollout(query, key, maximum, log_sum, rows, *_):
    return torch.empty_like(rows)


torch.library.register_fake("regard::_map", _fake)
torch.library.register_fake("regard::_rollout_layer", _fake_rollout)


def _range(name, wanted, size):
    """[begin, end) of a slice or an int, of which Python's rules hold."""
    if isinstance(wanted, slice):  # asked first: `is` would make constants of its ends
        if wanted.step not in (None, 1):
            raise ValueError(f"{name}: {wanted}; expected a slice of step 1")
        begin, end = _edge(name, wanted.start, 0, size), _edge(name, wanted.stop, size, size)
        return begin, torch.sym_max(begin, end)
    if wanted is None:
        return 0, size
    one = _one(name, wanted, size)
    return one, one + 1


def _edge(name, wanted, default, size):
    """As slice.indices() has it, which not every Dynamo can trace. The sign of an end is a guard of
    compiled code, the size that cuts it off is none."""
    if wanted is None:
        return default
    edge = whole(name, wanted)
    return torch.sym_min(torch.sym_max(edge + size if edge < 0 else edge, 0), size)


def _one(name, wanted, size):
    expected = f"expected a slice, or an int between {-size} and {size - 1}"
    try:
        one = whole(name, wanted)
    except ValueError:
        raise ValueError(f"{name}: {wanted!r}; {expected}") from None
    if not -size <= one < size:
        raise ValueError(f"{name}: {wanted!r}; {expected}")
    return one % size


class _Look:
    """Query, key and options as the operator takes them."""

    def __init__(self, query, key, *, state=None, plan=None, **options):
        if _transforms():
            raise NotImplementedError(
                "regard.attention_map and the like: transforms of torch.func are not supported"
            )
        values = key.key if isinstance(key, PreparedKeys) else key  # keys are values that fit
        check_tensors(query, values, values)
        self.given = dict(query=query, key=key, value=values, plan=plan, **options)
        try:
            self.query, self.key, _, self.ints, self.floats, tensors, self.order, self.leading = (
                prepared(query.detach(), key.detach(), values.detach(), plan=plan, **options)
            )
        except (ValueError, RuntimeError) as error:
            raise explained(error, **self.given) from None
        self.tensors = [x.detach() for x in tensors]
        self.plan = 0 if plan is None else plan.handle
        self.maximum, self.log_sum = self._statistics(state)

    def _statistics(self, state):
        if state is None:
            return None, None
        if isinstance(state, torch.Tensor):  # lse
            return self._rows(state), self._rows(torch.zeros_like(state))
        pair = (state.maximum, state.log_sum) if hasattr(state, "log_sum") else state
        if (
            not isinstance(pair, (tuple, list))
            or len(pair) != 2
            or not all(isinstance(x, torch.Tensor) for x in pair)
        ):
            what = (
                f"{type(state).__name__} of {len(state)}"
                if isinstance(state, (tuple, list))
                else type(state).__name__
            )
            raise ValueError(
                f"state: {what}; expected what regard.attention_state gives, an lse or a pair"
                " (maximum, log_sum) of tensors"
            )
        return self._rows(pair[0]), self._rows(pair[1])

    def _rows(self, x):
        x = x.detach()
        return x if self.leading is None else x.flatten(0, len(self.leading.batch) - 1)

    @property
    def sizes(self):
        """(batch, heads, len_q, len_k)."""
        heads, seq = (-3, -2) if self.order == 0 else (-2, -3)
        q = self.query
        return (
            q.shape[0] if q.dim() == 4 else 1,
            q.shape[heads] if q.dim() > 2 else 1,
            q.shape[seq],
            self.key.shape[seq],
        )

    def run(
        self,
        kind,
        *,
        rows=None,
        cols=None,
        heads=None,
        mean_heads=False,
        size=(),
        pooling="max",
        row_weights=None,
    ):
        batch, all_heads, len_q, len_k = self.sizes
        region = (
            0,
            batch,
            *_range("heads", heads, all_heads),
            *_range("rows", rows, len_q),
            *_range("cols", cols, len_k),
        )
        try:
            answers = ops.attention_map(
                self.query,
                self.key,
                self.maximum,
                self.log_sum,
                row_weights,
                self.ints,
                self.floats,
                self.tensors,
                self.order,
                self.plan,
                kind,
                region,
                bool(mean_heads),
                size,
                pooling,
            )
        except (ValueError, RuntimeError) as error:
            raise explained(error, **self.given) from None
        return [self._shaped(x) for x in answers]

    def roll(self, rows, residual):
        """Rows of a rollout, (batch, 1, vectors, n), passed through this layer."""
        return ops.rollout_layer(
            self.query,
            self.key,
            self.maximum,
            self.log_sum,
            rows,
            self.ints,
            self.floats,
            self.tensors,
            self.order,
            self.plan,
            residual,
        )

    def _shaped(self, answer):
        """(batch, heads, ...) with the leading dimensions of the query."""
        if self.leading is not None:
            return self.leading.output(answer)
        for _ in range(4 - self.query.dim()):
            answer = answer[0]
        return answer


def attention_map(
    query: Tensor,
    key: Tensor,
    *,
    rows: Wanted = None,
    cols: Wanted = None,
    heads: Wanted = None,
    mean_heads: bool = False,
    **options: Any,
) -> Tensor:
    """Exact attention weights of some rows and columns: (..., heads, rows, cols).

    rows, cols, heads: slices or ints (whose axis stays, with size 1); all unless given.
    mean_heads: the mean over those heads, as one head. state: what regard.attention_state gave
    for the same arguments, or the lse of regard.attention(..., return_lse=True), or a pair
    (maximum, log_sum), each (..., heads, len_q): saves computing them again for the rows that
    are looked at. That of a longer attention, of which key is a part, gives the part's weights.
    An lse is one number: where scores are huge (a bias of torch.finfo(...).min) it has no room
    for the sum's logarithm, and weights would be too large by the sum; the other two keep it.
    Other options: those of regard.attention. With dropout_p, give the seed of the pass that is
    looked at: without one, keys are dropped that no other call drops.

    Errors: ValueError for what does not fit, by argument name; torch.func is not served
    (NotImplementedError).
    """
    return _Look(query, key, **options).run(
        "weights", rows=rows, cols=cols, heads=heads, mean_heads=mean_heads
    )[0]


def attention_picture(
    query: Tensor,
    key: Tensor,
    size: tuple[int, int],
    *,
    pooling: str = "max",
    rows: Wanted = None,
    cols: Wanted = None,
    heads: Wanted = None,
    mean_heads: bool = False,
    **options: Any,
) -> Tensor:
    """The weights pooled to a picture, in one pass: (..., heads, height, width).

    size: (height, width), at most as many as there are rows and columns. pooling: "max", "mean"
    or "sum" of the weights of a cell.
    Other arguments: those of attention_map; without `state`, a pass of its own over the rows'
    scores comes first.
    """
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling: {pooling!r}; expected one of {', '.join(map(repr, _POOLINGS))}")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size: {size!r}; expected (height, width)")
    return _Look(query, key, **options).run(
        "picture",
        rows=rows,
        cols=cols,
        heads=heads,
        mean_heads=mean_heads,
        size=[whole("size", pixels) for pixels in size],
        pooling=pooling,
    )[0]


def attention_top(
    query: Tensor,
    key: Tensor,
    count: int,
    *,
    rows: Wanted = None,
    heads: Wanted = None,
    mean_heads: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """(weights, keys) of the `count` keys that count most in each row: (..., heads, rows,
    count), from the largest weight down.

    Where fewer keys have a weight above 0 the rest are key -1 and weight 0. Of equal weights the
    lower key comes first. Other arguments: those of attention_map.
    """
    weights, keys = _Look(query, key, **options).run(
        "top", rows=rows, heads=heads, mean_heads=mean_heads, size=[whole("count", count)]
    )
    return weights, keys


def attention_entropy(
    query: Tensor,
    key: Tensor,
    *,
    rows: Wanted = None,
    heads: Wanted = None,
    mean_heads: bool = False,
    **options: Any,
) -> Tensor:
    """-sum p ln p of each row, in nats: (..., heads, rows). Arguments: those of attention_map."""
    return _Look(query, key, **options).run(
        "entropy", rows=rows, heads=heads, mean_heads=mean_heads
    )[0][..., 0]


def attention_received(
    query: Tensor,
    key: Tensor,
    *,
    rows: Wanted = None,
    cols: Wanted = None,
    heads: Wanted = None,
    mean_heads: bool = False,
    **options: Any,
) -> Tensor:
    """How much attention each key receives from the rows (sums of columns): (..., heads, cols).
    Arguments: those of attention_map."""
    return _Look(query, key, **options).run(
        "column_sums", rows=rows, cols=cols, heads=heads, mean_heads=mean_heads
    )[0][..., 0, :]


def attention_rollout(
    layers: Sequence[tuple], rows: Wanted, *, residual: float = 0.5, **options: Any
) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928): which inputs the chosen rows
    of a stack of self-attention layers' output go back to, (..., rows, n).

        rows of A_L ... A_2 A_1,  A_l = residual * I + (1 - residual) * (mean over heads of layer
        l's map)

    layers: (query, key) of each layer, the one next to the input first; or (query, key,
    options), a dict for this layer. Other options hold for all layers.
    rows: an int, a slice or a list of ints. Each chosen row is passed through the layers as a
    vector: no product of n x n matrices is made.
    """
    looks = []
    for i, layer in enumerate(layers):
        if not isinstance(layer, (tuple, list)) or len(layer) not in (2, 3):
            raise ValueError(
                f"layers[{i}]: {type(layer).__name__}; expected (query, key) or (query, key,"
                " options)"
            )
        query, key, *own = layer
        looks.append(_Look(query, key, **{**options, **(own[0] if own else {})}))
    if not looks:
        raise ValueError("layers: none given; expected (query, key) of at least one layer")
    if not 0.0 <= residual <= 1.0:
        raise ValueError(f"residual: {residual}; expected a share between 0 and 1")
    batch, _, n, _ = looks[0].sizes
    for i, look in enumerate(looks):
        if (
            look.sizes[0] != batch
            or look.sizes[2:] != (n, n)
            or look.query.dtype != looks[0].query.dtype
        ):
            raise ValueError(
                f"layers[{i}]: batch {look.sizes[0]}, lengths {look.sizes[2:]}, {look.query.dtype};"
                f" expected batch {batch}, lengths {(n, n)}, {looks[0].query.dtype}, as layers[0]"
            )
    chosen = (
        [_one("rows", row, n) for row in rows]
        if isinstance(rows, (list, tuple))
        else list(range(*_range("rows", rows, n)))
    )
    wide = torch.float64 if looks[0].query.dtype == torch.float64 else torch.float32
    passed = torch.zeros(batch, 1, len(chosen), n, dtype=wide)
    passed[:, 0, range(len(chosen)), chosen] = 1
    for look in reversed(looks):
        passed = look.roll(passed, residual)
    return looks[0]._shaped(passed)[..., 0, :, :] if looks[0].query.dim() > 2 else passed[0, 0]
