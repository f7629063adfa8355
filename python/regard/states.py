# SPDX-License-Identifier: Apache-2.0
"""Attention over parts of the keys, one part at a time: states merge into the state over all of
them, and a finished state is an output.

    s = regard.attention_state(q, k_memory, v_memory)
    t = regard.attention_state(q, k, v, mask=regard.causal())
    out = regard.finish(regard.merge([s, t]))              # as regard.attention over both,
                                                           # gradients included

The parts may be computed anywhere and in any order: split keys, memory and context, the blocks
of a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._torch import ops_library as ops
from ._torch.attention import _transforms, prepared
from ._torch.explain import explained
from ._torch.keywords import refuse_misplaced
from ._torch.options import AXIS_ORDERS
from ._torch.record import KINDS, kinds

if TYPE_CHECKING:
    from .score import PreparedKeys


class State:
    """What a row knows of the keys that it has met: their weighted mean, and how much they
    weigh.

    out: as regard.attention's, but float32 (float64 for float64 inputs): a part is not rounded
    before it is merged.
    maximum, log_sum: (..., heads, len_q), the two halves of lse, kept apart because one number
    loses the sum where scores are huge. The gradient of lse is log_sum's; maximum has none.
    dtype: of the inputs, which finish() brings back. layout: the order of out's axes.

    States that come from elsewhere (another process of a ring) are made as State(out, maximum,
    log_sum, layout=..., dtype=...).
    """

    __slots__ = ("dtype", "layout", "log_sum", "maximum", "out")

    def __init__(
        self,
        out: Tensor,
        maximum: Tensor,
        log_sum: Tensor,
        *,
        layout: str = "bhsd",
        dtype: torch.dtype | None = None,
    ) -> None:
        if layout not in AXIS_ORDERS:
            raise ValueError(
                f"layout: {layout!r}; expected one of {', '.join(map(repr, AXIS_ORDERS))}"
            )
        rows = _rows_of(out, layout)
        for name, statistic in (("maximum", maximum), ("log_sum", log_sum)):
            if tuple(statistic.shape) != rows:
                raise ValueError(
                    f"{name}: shape {tuple(statistic.shape)}; expected {rows}, a number for each"
                    f" row of out {tuple(out.shape)}"
                )
        self.out = out
        self.maximum = maximum.detach()
        self.log_sum = log_sum
        self.layout = layout
        self.dtype = out.dtype if dtype is None else dtype

    @property
    def lse(self) -> Tensor:
        """maximum + log_sum: the natural logarithm of each row's sum, (..., heads, len_q); -inf
        for a row without keys. Differentiable."""
        return self.maximum + self.log_sum

    def __repr__(self) -> str:
        return (
            f"regard.State(out={tuple(self.out.shape)}, layout={self.layout!r}, dtype={self.dtype})"
        )


def attention_state(
    query: Tensor,
    key: Tensor | PreparedKeys,
    value: Tensor,
    *misplaced: Any,
    layout: str = "bhsd",
    **options: Any,
) -> State:
    """The State of attention over these keys: a part of what the query attends to. Arguments and
    errors as regard.attention, without plan and return_lse.

    part: where these queries and keys stand in the whole, if masks or modifiers count positions:
    regard.part(query_begin, key_begin, len_q=..., len_k=...).
    Sinks join once, when a row is finished: give them to regard.finish. Parts that shall drop
    what the whole would drop need the same `seed`.
    Differentiable, also under torch.compile; torch.func is not served (NotImplementedError).
    """
    refuse_misplaced(misplaced)
    if _transforms():
        raise NotImplementedError(
            "regard.attention_state: transforms of torch.func are not supported; torch.autograd is"
        )
    if options.pop("plan", None) is not None:
        raise TypeError("plan: a state is made without one; give its mask")
    try:
        *inputs, leading = prepared(query, key, value, layout=layout, **options)
    except (ValueError, RuntimeError) as error:
        raise explained(error, query, key, value, layout=layout, **options) from None
    if KINDS["sinks"] in kinds(inputs[3]):
        raise ValueError(
            "modifiers: sinks join once, when a row is finished; give their logits to"
            " regard.finish(state, sinks=...)"
        )
    try:
        results = ops.attention_state(*inputs)
    except (ValueError, RuntimeError) as error:
        raise explained(error, query, key, value, layout=layout, **options) from None
    if leading is not None:
        results = [leading.output(x) for x in results]
    return State(*results, layout=layout, dtype=inputs[0].dtype)


def merge(states: Sequence[State]) -> State:
    """The State over all keys of `states`, which must not overlap: their outs, weighted by
    exp(lse). All have the same shape, layout and dtype. They are merged in their order: another
    order may round differently. Differentiable.

    A part weighs w = exp(lse_part - lse); its gradients are w d_out, and for its lse w (d_out .
    (out_part - out) + d_lse).
    """
    try:
        states = list(states)
    except TypeError:
        raise ValueError(
            f"states: {type(states).__name__}; expected a list of what regard.attention_state gives"
        ) from None
    _check_alike(states)
    first = states[0]
    if len(states) == 1:
        return first
    batch = first.out.shape[:-4]
    merged = _merge_flat([_flat(state, batch) for state in states], AXIS_ORDERS[first.layout])
    if batch:
        merged = [x.unflatten(0, first.out.shape[: len(batch) + 1]) for x in merged]
    return State(*merged, layout=first.layout, dtype=first.dtype)


def finish(
    state: State, sinks: Tensor | None = None, *, return_lse: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The output of a state, in the dtype of its inputs; with return_lse also its lse, as
    regard.attention gives both.

    sinks: learned logits, (heads, m) or (heads,), that join the denominator of every row of
    their head. They join here, once, and never a part. Differentiable, in the sinks too.
    """
    if not isinstance(state, State):
        raise ValueError(
            f"state: {type(state).__name__}; expected what regard.attention_state or regard.merge"
            " gives"
        )
    if sinks is not None:
        state = merge([state, _sink_state(state, sinks)])
    out = state.out.to(state.dtype)
    return (out, state.lse) if return_lse else out


def _sink_state(state, logits):
    """Sinks as a state: out 0, and a sum of exp(logit). Its rows are one and the same in memory."""
    heads = state.maximum.shape[-2] if state.maximum.dim() > 1 else 1
    if (
        not isinstance(logits, torch.Tensor)
        or not logits.is_floating_point()
        or logits.dim() not in (1, 2)
        or logits.shape[0] != heads
    ):
        what = (
            f"{logits.dtype}, shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise ValueError(
            f"sinks: {what}; expected a floating-point tensor ({heads}, m) or ({heads},), logits"
            " for each head"
        )
    logits = logits.to(state.log_sum.dtype).reshape(heads, -1)
    maximum = (
        logits.detach().amax(-1) if logits.shape[1] > 0 else logits.new_full((heads,), -torch.inf)
    )
    nothing = maximum == -torch.inf  # as of a row that has met no key: log_sum 0, and no gradient
    sums = (logits - maximum.masked_fill(nothing, 0)[:, None]).exp().sum(-1)
    log_sum = sums.masked_fill(nothing, 1).log()
    if state.maximum.dim() > 1:
        maximum, log_sum = maximum[:, None], log_sum[:, None]
    rows = state.maximum.shape
    out = state.out.new_zeros(()).expand(state.out.shape)
    return State(
        out, maximum.expand(rows), log_sum.expand(rows), layout=state.layout, dtype=state.dtype
    )


def _rows_of(out, layout):
    """The shape of what there is one of for each row: (..., heads, len_q)."""
    shape = tuple(out.shape[:-1])
    return shape if layout == "bhsd" or len(shape) < 2 else (*shape[:-2], shape[-1], shape[-2])


def _check_alike(states):
    if not states:
        raise ValueError("states: none; expected at least one")
    for n, state in enumerate(states):
        if not isinstance(state, State):
            raise ValueError(
                f"states[{n}]: {type(state).__name__}; expected what regard.attention_state gives"
            )
        for what, own, expected in (
            ("layout", state.layout, states[0].layout),
            ("dtype", state.dtype, states[0].dtype),
            ("out of dtype", state.out.dtype, states[0].out.dtype),
            ("out of shape", tuple(state.out.shape), tuple(states[0].out.shape)),
        ):
            if own != expected:
                raise ValueError(f"states[{n}]: {what} {own}; expected {expected}, as states[0]")


def _flat(state, batch):
    """The three tensors with at most one batch dimension."""
    tensors = (state.out, state.maximum, state.log_sum)
    return tuple(x.flatten(0, len(batch)) for x in tensors) if batch else tensors


_AT_ONCE = 31  # states that the operator takes


def _merge_flat(parts, order):
    while len(parts) > 1:
        parts = [
            ops.merge_states(*(list(x) for x in zip(*parts[:_AT_ONCE], strict=True)), order),
            *parts[_AT_ONCE:],
        ]
    return parts[0]
