# SPDX-License-Identifier: Apache-2.0
"""What a call asks for, as the three lists of include/regard/encoding.h. What this version does
not serve is refused here, by name."""

import torch

from ..masks import NONE, Mask, as_tensor, tensor
from ..modifiers import Modifier, check_seed, dropout
from ..score import Score
from .axes import kind_of
from .numbers import number
from .part import Part
from .record import KINDS

_SCALE, _SOFTCAP, _BIAS = KINDS["scale"], KINDS["softcap"], KINDS["bias"]
_TENSOR_RECORD, _BIAS_RECORD = (KINDS["tensor"], 0), (_BIAS, 1, 0)
_PLAIN = (torch.Tensor, torch.nn.Parameter)
AXIS_ORDERS = {"bhsd": 0, "bshd": 1, "thd": 2}  # as src/torch_ops/tensors.h numbers them


def as_mask(mask):
    if mask is None:
        return NONE
    if isinstance(mask, Mask):
        return mask
    mask = as_tensor(mask)
    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool:
        return tensor(mask)
    if isinstance(mask, torch.Tensor):
        instead = (
            "what is added to scores is bias="
            if mask.is_floating_point()
            else "of ones and zeros, mask != 0"
        )
        raise ValueError(
            f"mask: a tensor of {mask.dtype}; expected torch.bool, True where attended ({instead})"
        )
    if callable(mask):
        name = getattr(mask, "__name__", "")
        call = f"regard.{name}({'' if name == 'causal' else '...'})"
        raise ValueError(f"mask: a function; expected what it gives, as in mask={call}")
    what = repr(mask) if isinstance(mask, str | bool) else type(mask).__name__
    raise ValueError(
        f"mask: {what}; expected a mask (regard.causal(), ...), a boolean tensor or array, or None"
    )


def all_records(score, modifiers, dropout_p, seed, part=None):
    """The score, the modifiers and the part of a call, those that have arguments of their own
    among them."""
    if score is not None and not isinstance(score, Score):
        raise ValueError(
            f"score: {type(score).__name__}; expected None (scaled dot product) or"
            " regard.additive(v)"
        )
    if modifiers is None:
        modifiers = ()
    if isinstance(modifiers, Modifier):
        modifiers = (modifiers,)
    if not isinstance(modifiers, tuple | list):
        raise ValueError(
            f"modifiers: {type(modifiers).__name__}; expected a tuple of values such as"
            " regard.alibi(slopes)"
        )
    for modifier in modifiers:
        if not isinstance(modifier, Modifier):
            raise ValueError(
                f"modifiers: {type(modifier).__name__}; expected values such as"
                " regard.alibi(slopes)"
            )
    records = tuple(modifiers) if score is None else (score, *modifiers)
    if part is not None:
        if not isinstance(part, Part):
            raise ValueError(
                f"part: {type(part).__name__}; expected regard.part(query_begin, key_begin,"
                " len_q=..., len_k=...)"
            )
        records = (*records, part)
    if type(dropout_p) is not float or dropout_p != 0.0 or seed is not None:
        dropout_p, seed = number("dropout_p", dropout_p), check_seed(seed)
    return (*records, dropout(dropout_p, seed)) if dropout_p else records


def encode(mask, scale, softcap, bias, records=()):
    """(ints, floats, tensors)."""
    cap = 0.0
    if softcap is not None and not (type(softcap) is float and softcap == 0.0):
        cap = number("softcap", softcap)
    if scale is None and cap == 0.0 and bias is None and not records:
        return mask.ints, [], mask.tensors
    ints, floats, tensors = list(mask.ints), [], list(mask.tensors)
    if scale is not None:
        ints += (_SCALE, 0)
        floats.append(number("scale", scale, ", or modifiers=regard.temperature(...)"))
    if cap != 0.0:
        if not cap > 0:
            raise ValueError(f"softcap: {softcap}; expected a positive number, or 0 for none")
        ints += (_SOFTCAP, 0)
        floats.append(cap)
    if bias is not None:
        if not isinstance(bias, torch.Tensor) or not bias.is_floating_point():
            what = bias.dtype if isinstance(bias, torch.Tensor) else type(bias).__name__
            raise ValueError(
                f"bias: {what}; expected a floating-point tensor (a boolean one is a mask:"
                " regard.tensor)"
            )
        if bias.layout is not torch.strided or bias.is_nested:
            raise ValueError(f"bias: {kind_of(bias)}; expected a dense one")
        ints += (_BIAS, 1, 0)
        tensors.append(bias)
    for record in records:
        ints += record.ints
        floats += record.floats
        tensors += record.tensors
    return ints, floats, tensors


def short_lists(mask, scale, bias, modifiers, recorded):
    """What encode() would return, in a third of its time, for what the shortest road takes: plain
    tensors, none of which gets a gradient (`recorded`: gradients are), and values that need no
    check; floats may be None. None for everything else."""
    ints, floats, tensors = (), None, ()
    if type(mask) is Mask:
        ints, tensors = mask.ints, mask.tensors
    elif type(mask) is torch.Tensor and mask.dtype is torch.bool:
        ints, tensors = _TENSOR_RECORD, (mask,)
    elif mask is not None:
        return None
    if scale is not None:
        ints, floats = (*ints, _SCALE, 0), (scale,)
    if bias is not None:
        if type(bias) not in _PLAIN or not bias.is_floating_point():
            return None
        ints, tensors = (*ints, *_BIAS_RECORD), (*tensors, bias)
    if type(modifiers) is Modifier:
        modifiers = (modifiers,)
    elif type(modifiers) is not tuple and type(modifiers) is not list:
        return None
    for record in modifiers:
        if type(record) is not Modifier:
            return None
        if record.floats:
            floats = (*(floats or ()), *record.floats)
        ints = (*ints, *record.ints) if ints else record.ints
        tensors = (*tensors, *record.tensors) if tensors else record.tensors
    for x in tensors:
        if type(x) not in _PLAIN or (recorded and x.requires_grad):
            return None
    return ints, floats, tensors
