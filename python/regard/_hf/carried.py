# SPDX-License-Identifier: Apache-2.0
"""The mask that a model carries through its layers: a boolean tensor that is not built unless some
code of the model looks at it."""

import torch

from ..masks import tensor

_aten = torch.ops.aten

# What gives a mask again: a part of it, another shape of it, several of them as one.
_SHAPING = {
    _aten.alias.default,
    _aten.bitwise_and.Tensor,
    _aten.bitwise_or.Tensor,
    _aten.cat.default,
    _aten.clone.default,
    _aten.detach.default,
    _aten.expand.default,
    _aten.index_select.default,
    _aten.logical_and.default,
    _aten.logical_or.default,
    _aten.permute.default,
    _aten.repeat.default,
    _aten.select.int,
    _aten.slice.Tensor,
    _aten.squeeze.dim,
    _aten.stack.default,
    _aten.transpose.int,
    _aten.unsqueeze.default,
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.index.Tensor,
    _aten._to_copy.default,
}
_ADDING = {_aten.add.Tensor, _aten.add_.Tensor}


class CarriedMask(torch.Tensor):
    """A boolean (batch, 1, len_q, len_k) tensor, True where attended. ``mask`` is what it says as a
    mask of Regard (NONE hides nothing); ``build`` makes the tensor. ``pattern``: what of it holds
    within each of several packed sequences, where it says no more than that; else None.

    To model code it is that tensor: dtype, size, slices, repeat, cat, where, ``~`` and the rest
    build it once and go on with it. One thing a boolean tensor cannot do: added to scores of a
    floating type it hides what it hides, as the mask of floats does that eager models are given; a
    plain boolean tensor would add 1 to what is seen."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, mask, shape, build, pattern=None):
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.bool, device="cpu")

    def __init__(self, mask, shape, build, pattern=None):
        self.mask = mask
        self.pattern = pattern
        self._build = build
        self._built = None

    @classmethod
    def of(cls, allowed):
        """A boolean tensor that is there already."""
        return cls(tensor(allowed), allowed.shape, lambda: allowed)

    def allowed(self):
        """The plain boolean tensor."""
        if self._built is None:
            with torch.no_grad():
                self._built = self._build().expand(self.shape).contiguous()
        return self._built

    def __repr__(self):
        return f"CarriedMask({self.mask!r}, shape={tuple(self.shape)})"

    def __deepcopy__(self, memo):
        return CarriedMask(self.mask, self.shape, self._build, self.pattern)

    def __reduce_ex__(self, protocol):
        return CarriedMask.of, (self.allowed(),)

    def numpy(self, *, force=False):
        return self.allowed().numpy(force=force)

    def tolist(self):
        return self.allowed().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _changes_nothing(func, args, kwargs):
            first = args[0]
            return CarriedMask(first.mask, first.shape, first.allowed, first.pattern)
        if func in _ADDING and _adds_to_scores(args):
            return func(*_additive(args), **kwargs)
        made = func(*_plain(args), **_plain(kwargs))
        if func in _SHAPING and isinstance(made, torch.Tensor) and made.dtype is torch.bool:
            return CarriedMask.of(made.contiguous())
        return made


def _plain(x):
    if isinstance(x, CarriedMask):
        return x.allowed()
    if isinstance(x, (list, tuple)):
        return type(x)(map(_plain, x))
    if isinstance(x, dict):
        return {key: _plain(each) for key, each in x.items()}
    return x


def _changes_nothing(func, args, kwargs):
    """The same mask by another name: what it says need not be built for it."""
    first = args[0] if args else None
    if not isinstance(first, CarriedMask):
        return False
    if func in (_aten.detach.default, _aten.alias.default, _aten.clone.default):
        return True
    if func is _aten._to_copy.default:
        device = torch.device(kwargs.get("device") or "cpu")
        return kwargs.get("dtype") in (None, torch.bool) and device.type == "cpu"
    if func in (_aten.expand.default, _aten.view.default):
        pairs = zip(args[1], first.shape, strict=False)
        wanted = [have if want == -1 else want for want, have in pairs]
        return len(args[1]) == first.dim() and wanted == list(first.shape)
    if func is _aten.slice.Tensor:
        given = dict(zip(("dim", "start", "end", "step"), args[1:], strict=False))
        size, start, end = first.shape[given.get("dim", 0)], given.get("start"), given.get("end")
        step = given.get("step", 1)
        return start in (None, 0, -size) and (end is None or end >= size) and step == 1
    return False


def _adds_to_scores(args):
    return any(
        isinstance(x, torch.Tensor) and not isinstance(x, CarriedMask) and x.is_floating_point()
        for x in args[:2]
    )


def _additive(args):
    """0 where attended, the lowest number elsewhere, in the type of the scores."""
    scores = next(x for x in args[:2] if not isinstance(x, CarriedMask))
    lowest = torch.finfo(scores.dtype).min

    def floats(x):
        if not isinstance(x, CarriedMask):
            return x
        allowed = x.allowed()
        return torch.zeros(allowed.shape, dtype=scores.dtype).masked_fill_(~allowed, lowest)

    return tuple(map(floats, args))
