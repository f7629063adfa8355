# SPDX-License-Identifier: Apache-2.0
"""Arguments that are numbers, checked by name."""

from operator import index

import torch
from torch.compiler import is_dynamo_compiling

_LEAST, _MOST = -(2**63), 2**63 - 1


def number(name, value, instead=""):
    """A float; a tensor with a gradient is refused, which would be lost. `instead` says what has
    one."""
    if isinstance(value, torch.Tensor) and value.requires_grad:
        raise ValueError(
            f"{name}: a tensor that requires a gradient; it gets none. Expected a number{instead}"
        )
    if isinstance(value, str):
        raise ValueError(f"{name}: {value!r}; expected a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{name}: a whole number beyond the range of a float; expected a smaller one"
        ) from None
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: {type(value).__name__}; expected a number") from None


def whole(name, value, least=None, most=None):
    """An int of 64 bits; a bool or 2.5 is a mistake."""
    if is_dynamo_compiling() and isinstance(value, int) and not isinstance(value, bool):
        # A number that compiled code leaves open: index() would make a constant of it, and every
        # other number a compilation of its own. It has 64 bits; its range is a guard.
        if (least is None or value >= least) and (most is None or value <= most):
            return value
        raise ValueError(f"{name}: a whole number out of range")
    span = "" if least is None else f" from {least}" if most is None else f" from {least} to {most}"
    try:
        if isinstance(value, bool):
            raise TypeError
        found = index(value)
    except TypeError:
        raise ValueError(f"{name}: {value!r}; expected a whole number{span}") from None
    if not _LEAST <= found <= _MOST:
        raise ValueError(f"{name}: {found}; expected a whole number{span} that fits in 64 bits")
    if (least is not None and found < least) or (most is not None and found > most):
        raise ValueError(f"{name}: {found}; expected a whole number{span}")
    return found
