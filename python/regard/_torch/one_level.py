# SPDX-License-Identifier: Apache-2.0
"""Autograd of an operator, at one level: what torch.library.register_autograd makes, but also where
a transform of torch.func is being worked off level by level, as it is inside torch.compile."""

import torch
from torch._functorch.utils import enable_single_level_autograd_function

_after = torch._C._after_autograd_keyset


class OneLevel(torch.autograd.Function.__mro__[1]):
    """A torch.autograd.Function whose first argument is `place`, for below_autograd()."""

    @staticmethod
    def _compiled_autograd_key(ctx):
        return (ctx._autograd_function_id,)

    @classmethod
    def one_level(cls, keyset, *arguments):
        """apply() from an Autograd kernel, which has the dispatcher's set of keys."""
        with enable_single_level_autograd_function():
            return cls.apply((keyset, torch.is_grad_enabled()), *arguments)


def below_autograd(operator, place, *arguments):
    """Goes on below this level's autograd. Levels below may record too: gradients are on again,
    which forward() of a Function has switched off."""
    keyset, recording = place
    with torch._C._AutoDispatchBelowAutograd(), torch.set_grad_enabled(recording):
        return operator.redispatch(keyset & _after, *arguments)
