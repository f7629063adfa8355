# SPDX-License-Identifier: Apache-2.0
"""regard.attention, and which road a call takes to the kernels:

| road | when | where |
|---|---|---|
| short, without gradients | the commonest options on plain tensors (attention() below) | _attend |
| short, with gradients | the same, and an input requires a gradient | autograd.Common |
| short, with options | other masks, modifiers, a bias; no gradients | _attend_with |
| public operator | a compiler traces, transforms of torch.func included | public_op.py |
| torch.func | a transform is active | functional.Functional |
| public operator | a tensor is of a subclass | public_op.py |
| eager, with gradients | plain tensors, one of which requires a gradient | autograd.Eager |
| eager, without | plain tensors | _infer |

The short road is chosen in as few steps as possible: a call below 16 positions lasts 6
microseconds. _run() chooses among the others, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

from ..masks import Mask
from ..score import PreparedKeys, Score
from . import ops_library as ops
from .autocast import lowered
from .autograd import Common, Eager
from .axes import Leading, agree, check_tensors
from .explain import explained
from .functional import Functional
from .keywords import plain_signature, refuse_misplaced, refuse_unknown
from .options import AXIS_ORDERS, all_records, as_mask, encode, short_lists
from .plan import Plan
from .types import Keys

if TYPE_CHECKING:
    from ..modifiers import Modifier
    from .part import Part

_any_autocast = getattr(
    torch._C, "_is_any_autocast_enabled", lambda: torch.is_autocast_enabled("cpu")
)
_transforms = torch._C._are_functorch_transforms_active
_grad_enabled = torch.is_grad_enabled
with_gradients = Common.apply
_plain = (torch.Tensor, torch.nn.Parameter)
_EXACT = 2**53  # whole numbers below it are floats
_ZERO = 0.0  # the defaults themselves, which `is` finds


@plain_signature
def attention(
    query: Tensor,
    key: Keys,
    value: Tensor,
    *misplaced: Any,
    mask: Mask | Tensor | None = None,
    score: Score | None = None,
    modifiers: Sequence[Modifier] = (),
    scale: float | None = None,
    softcap: float | None = _ZERO,
    bias: Tensor | None = None,
    dropout_p: float = _ZERO,
    seed: int | Tensor | None = None,
    layout: str = "bhsd",
    plan: Plan | None = None,
    part: Part | None = None,
    return_lse: bool = False,
    **unknown: Any,
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(scale * query @ key^T + bias, over the keys that ``mask`` allows) @ value,
    exactly, with no matrix of scores in memory.

    query, key, value: (..., heads, seq, dim) for ``layout="bhsd"``, (..., seq, heads, dim) for
    ``"bshd"``, (total, heads, dim) for ``"thd"`` (packed sequences, with
    ``mask=regard.documents(cu_q, cu_k)``), on the CPU, float32, bfloat16, float16 or float64,
    all
    the same; any strides. Leading dimensions broadcast. The query's heads are a multiple of the
    key's, which are never repeated in memory. The value's dim may differ.
    mask: ``regard.causal()``, ``regard.window(left, right)``, ... composed with ``&``, ``|``,
    ``~``; or a boolean tensor or numpy array, True where attended.
    score: None for the scaled dot product above, or ``regard.additive(v)``: scale * v .
    tanh(query + key). The key may then be what ``regard.prepare_keys(key)`` made of it.
    scale: 1 / sqrt(dim) unless given (1 with an additive score). softcap: ``cap * tanh(s /
    cap)`` on the scaled scores; 0 or None is none.
    bias: any floating tensor that broadcasts to (..., heads, len_q, len_k), added to the scores;
    it gets a gradient of its own shape. modifiers: ``regard.alibi(slopes)``,
    ``regard.sinks(logits)``, ... (see regard.modifiers); their tensors get gradients.
    dropout_p: the probability to drop a weight; which ones depends on (seed, batch, head, query,
    key) alone. seed: an int or an int64 tensor of one element; drawn from torch's default
    generator unless given.
    plan: what ``regard.plan`` made, instead of the mask.
    part: ``regard.part(query_begin, key_begin, len_q=..., len_k=...)`` where the tensors are a
    part of a longer attention.
    return_lse: also return the natural logarithm of each row's sum, (..., heads, len_q), float32
    (float64 for float64); differentiable.

    A row that sees no key is 0 (lse -inf) and has no gradient. Errors: ValueError for what does
    not fit, by argument name; TypeError, with what to write instead, for arguments that there are
    not.
    """
    if (
        (softcap is _ZERO or ((type(softcap) is float or type(softcap) is int) and softcap == 0))
        and not return_lse
        and plan is None
        and part is None
        and (
            dropout_p is _ZERO
            or ((type(dropout_p) is float or type(dropout_p) is int) and dropout_p == 0)
        )
        and score is None
        and seed is None
        and (scale is None or type(scale) is float or (type(scale) is int and abs(scale) < _EXACT))
        and (
            layout == "bhsd" or (layout == "bshd" and query.dim() == key.dim() == value.dim() == 4)
        )
        and type(query) in _plain
        and type(key) in _plain
        and type(value) in _plain
        and not is_dynamo_compiling()
        and not _transforms()
        and not _any_autocast()
        and forward_ad._current_level < 0
        and not misplaced
        and not unknown
    ):
        recorded = _grad_enabled()
        gradients = recorded and (query.requires_grad or key.requires_grad or value.requires_grad)
        code = 0 if mask is None else mask.code if type(mask) is Mask else -1
        try:
            if code >= 0 and bias is None and not modifiers:
                attend = with_gradients if gradients else ops.attend
                if layout == "bhsd":
                    return attend(query, key, value, code, scale)
                views = (x.transpose(1, 2) for x in (query, key, value))
                return attend(*views, code, scale).transpose(1, 2)
            if not gradients:
                lists = short_lists(mask, scale, bias, modifiers, recorded)
                if lists is not None:
                    return ops.attend_with(query, key, value, *lists, AXIS_ORDERS[layout])
        except (ValueError, RuntimeError):
            pass  # what has to broadcast, or does not fit and gets its error below
    if misplaced:
        refuse_misplaced(misplaced)
    return general(
        query,
        key,
        value,
        plan=plan,
        return_lse=return_lse,
        mask=mask,
        score=score,
        modifiers=modifiers,
        scale=scale,
        softcap=softcap,
        bias=bias,
        dropout_p=dropout_p,
        seed=seed,
        layout=layout,
        part=part,
        **unknown,
    )


def general(query, key, value, *, plan=None, return_lse=False, run=None, **options):
    """Every road but the shortest (see the table above); or that of `run`."""
    try:
        *inputs, leading = prepared(query, key, value, plan=plan, **options)
        result = (run or _run)(*inputs, plan, return_lse)
    except (ValueError, RuntimeError) as error:
        raise explained(error, query, key, value, plan=plan, **options) from None
    if leading is None:
        return result
    return tuple(leading.output(x) for x in result) if return_lse else leading.output(result)


def _mask_of(plan, mask):
    """What a call sees: of a plan, its own mask."""
    if plan is None:
        return mask
    if not isinstance(plan, Plan):
        raise ValueError(
            f"plan: {type(plan).__name__}; expected what regard.plan(mask, len_q=..., len_k=...)"
            " made"
        )
    if mask is not None and mask is not plan.mask and as_mask(mask) != plan.mask:
        raise ValueError("plan: a plan carries its own mask; give one of mask and plan")
    return plan.mask


def prepared(
    query,
    key,
    value,
    *,
    mask=None,
    score=None,
    modifiers=(),
    scale=None,
    softcap=0.0,
    bias=None,
    dropout_p=0.0,
    seed=None,
    layout="bhsd",
    plan=None,
    part=None,
    **unknown,
):
    """(query, key, value, ints, floats, tensors, order) as the operators take them, and what brings
    results back to the leading dimensions that they had, or None."""
    if unknown:
        refuse_unknown(unknown)
    mask = as_mask(_mask_of(plan, mask))
    records = all_records(score, modifiers, dropout_p, seed, part)
    order = AXIS_ORDERS.get(layout)
    if order is None:
        raise ValueError(f"layout: {layout!r}; expected one of {', '.join(map(repr, AXIS_ORDERS))}")
    if isinstance(key, PreparedKeys):
        key, records = _unprepared(key, records, order)
    check_tensors(query, key, value)
    if not is_dynamo_compiling() and forward_ad._current_level >= 0:
        _refuse_tangents(
            query, key, value, bias, *(x for record in records for x in record.tensors)
        )
    if _any_autocast() and not is_dynamo_compiling():
        query, key, value = lowered(query, key, value)
    ints, floats, tensors = encode(mask, scale, softcap, bias, records)
    for x in tensors:
        if x.device != query.device:
            what = (
                "bias"
                if x is bias
                else f"a tensor of the mask or a modifier, shape {tuple(x.shape)}"
            )
            raise ValueError(f"{what}: on {x.device}; query is on {query.device}")

    leading = None
    if not agree(query, key, value, order):
        leading = Leading(query, key, value, order)
        query, key, value = leading.inputs(query, key, value)
        if leading.deep:
            tensors = [
                leading.pairs(x) if x.dtype is torch.bool or x.is_floating_point() else x
                for x in tensors
            ]
        else:
            leading = None
    if leading is None and bias is not None and bias.dim() > 4:
        raise ValueError(
            f"bias: shape {tuple(bias.shape)}; expected one that broadcasts to (batch, heads,"
            " len_q, len_k)"
        )
    return query, key, value, ints, floats, tensors, order, leading


def _unprepared(prepared_keys, records, order):
    if not records or not isinstance(records[0], Score):
        raise ValueError(
            "key: keys are prepared for an additive score; expected score=regard.additive(v), or"
            " the keys themselves"
        )
    return prepared_keys.key, (records[0], prepared_keys.record(order), *records[1:])


def _refuse_tangents(*inputs):
    """Without gradients forward-mode differentiation passes the operators by: tangents would be
    lost without a word."""
    if any(x is not None and forward_ad.unpack_dual(x).tangent is not None for x in inputs):
        raise RuntimeError("regard.attention: forward-mode differentiation is not supported")


def _run(query, key, value, ints, floats, tensors, order, plan, return_lse):
    inputs = (query, key, value, *tensors)
    if is_dynamo_compiling():
        out, lse, _ = ops.attention(query, key, value, ints, floats, tensors, order)
    elif _transforms():
        out, lse, _ = Functional.apply(query, key, value, ints, floats, order, *tensors)
    elif not all(type(x) in _plain for x in inputs):
        out, lse, _ = ops.attention(query, key, value, ints, floats, tensors, order)
    elif _grad_enabled() and any(x.requires_grad for x in inputs):
        return Eager.apply(query, key, value, ints, floats, order, plan, return_lse, *tensors)
    else:
        handle = 0 if plan is None else plan.handle
        out, statistics = ops.infer(
            query, key, value, ints, floats, tensors, order, handle, return_lse
        )
        lse = statistics[0] if return_lse else None
    return (out, lse) if return_lse else out


def by_operator(query, key, value, ints, floats, tensors, order, plan, return_lse):
    """The public operator, whatever the tensors are: for calls that come from the dispatcher, which
    works off the transforms of torch.func level by level."""
    out, lse, _ = ops.attention(query, key, value, ints, floats, tensors, order)
    return (out, lse) if return_lse else out
