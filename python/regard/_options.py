"""What a call asks for, as the three lists of include/regard/encoding.h. What this version does not serve is refused here, by name."""

import torch

from .masks import NONE, Mask, tensor

_SCALE, _SOFTCAP, _BIAS = 20, 21, 22
AXIS_ORDERS = {"bhsd": 0, "bshd": 1, "thd": 2}  # as src/torch_ops/tensors.h numbers them


def refuse_unsupported(score, modifiers, dropout_p, seed):
    if score is not None:
        raise NotImplementedError(f"regard.attention: score={score!r} is not supported yet; None (scaled dot product) is")
    if modifiers:
        raise NotImplementedError(f"regard.attention: modifiers={modifiers!r} are not supported yet; bias and softcap are arguments")
    if dropout_p:
        if not 0.0 <= dropout_p <= 1.0:
            raise ValueError(f"dropout_p: {dropout_p}; expected a probability between 0 and 1")
        raise NotImplementedError(f"regard.attention: dropout_p={dropout_p} is not supported yet; 0.0 is")
    if seed is not None:
        raise NotImplementedError("regard.attention: seed is not supported yet; it belongs to dropout")


def as_mask(mask):
    if mask is None:
        return NONE
    if isinstance(mask, Mask):
        return mask
    if isinstance(mask, torch.Tensor):
        return tensor(mask)
    raise ValueError(f"mask: {type(mask).__name__}; expected a mask (regard.causal(), ...), a boolean tensor or None")


def encode(mask, scale, softcap, bias):
    """(ints, floats, tensors). The tensors of the mask come first, the bias last: backward relies on it."""
    if scale is None and not softcap and bias is None:
        return mask.ints, [], mask.tensors
    ints, floats, tensors = list(mask.ints), [], list(mask.tensors)
    if scale is not None:
        ints += (_SCALE, 0)
        floats.append(float(scale))
    if softcap:
        if not softcap > 0:
            raise ValueError(f"softcap: {softcap}; expected a positive number, or 0 for none")
        ints += (_SOFTCAP, 0)
        floats.append(float(softcap))
    if bias is not None:
        if not isinstance(bias, torch.Tensor) or not bias.is_floating_point():
            what = bias.dtype if isinstance(bias, torch.Tensor) else type(bias).__name__
            raise ValueError(f"bias: {what}; expected a floating-point tensor (a boolean one is a mask: regard.tensor)")
        ints += (_BIAS, 1, 0)
        tensors.append(bias)
    return ints, floats, tensors
