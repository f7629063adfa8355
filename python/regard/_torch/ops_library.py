# SPDX-License-Identifier: Apache-2.0
"""Loads the operators (python/regard/_ops.so, from src/torch_ops) and keeps handles to them: a
look-up by name costs half a microsecond."""

from pathlib import Path

import torch

_file = Path(__file__).parents[1] / "_ops.so"
if not _file.exists():
    raise ImportError(
        f"{_file} is missing: build the target regard_torch (./dev build regard_torch)"
    )
torch.ops.load_library(str(_file))

# These are called where autograd has been dealt with (autograd.py), or where there are no
# gradients: it need not look at their arguments, for a microsecond or two a call.
_without_autograd = torch.library.Library("regard", "IMPL")
for _name in (
    "_attend",
    "_attend_with",
    "_attend_for_gradients",
    "_attend_backward",
    "_forward",
    "_infer",
    "_map",
    "_rollout_layer",
    "_cache_append",
    "_cache_attend",
):
    _without_autograd.impl(_name, torch.library.fallthrough_kernel, "AutogradCPU")


def _overload(name):
    # `_op` is what OpOverload.__call__ calls in its turn; without it the call is only a little
    # slower.
    overload = getattr(torch.ops.regard, name).default
    return getattr(overload, "_op", overload)


attend = _overload("_attend")
attend_with = _overload("_attend_with")
attend_for_gradients = _overload("_attend_for_gradients")
attend_backward = _overload("_attend_backward")
forward = _overload("_forward")
infer = _overload("_infer")
make_plan = _overload("_make_plan")
plan_density = _overload("_plan_density")
plan_picture = _overload("_plan_picture")
free_plan = _overload("_free_plan")
record_kinds = _overload("_record_kinds")
options_text = _overload("_options_text")
cache_append = _overload("_cache_append")
cache_attend = _overload("_cache_attend")
pages_make = _overload("_pages_make")
pages_drop = _overload("_pages_drop")
pages_add = _overload("_pages_add")
pages_fork = _overload("_pages_fork")
pages_free = _overload("_pages_free")
pages_truncate = _overload("_pages_truncate")
pages_count_free = _overload("_pages_count_free")
pages_reserve = _overload("_pages_reserve")
pages_table = _overload("_pages_table")
kernel_target = _overload("_kernel_target")
set_target = _overload("_set_target")

# What compilers see.
attention = torch.ops.regard.attention.default
attention_backward = torch.ops.regard.attention_backward.default
prepare_keys = torch.ops.regard.prepare_keys.default
attention_map = torch.ops.regard._map.default
rollout_layer = torch.ops.regard._rollout_layer.default
attention_state = torch.ops.regard.attention_state.default
merge_states = torch.ops.regard.merge_states.default
merge_states_backward = torch.ops.regard.merge_states_backward.default


def backward(*arguments):
    """attention_backward where autograd has been dealt with: past its own autograd."""
    with torch._C._AutoDispatchBelowAutograd():
        return attention_backward(*arguments)
