# SPDX-License-Identifier: Apache-2.0
"""Counts what really ran, as PyTorch's profiler sees it: kernels of Regard, and PyTorch's own
attention."""

import contextlib
from dataclasses import dataclass

from torch.profiler import ProfilerActivity, profile

_FORWARD = (
    "regard::attention",
    "regard::_attend",
    "regard::_attend_with",
    "regard::_attend_for_gradients",
    "regard::_forward",
    "regard::_infer",
)
_BACKWARD = ("regard::attention_backward", "regard::_attend_backward", "regard::_backward")


@dataclass
class Calls:
    forward: int = 0
    backward: int = 0
    pytorch: int = 0  # its fused kernels and its math, forward and backward


@contextlib.contextmanager
def kernel_calls():
    """Counters that are filled in when the block is left."""
    calls = Calls()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        yield calls
    for event in profiler.key_averages():
        if event.key in _FORWARD:
            calls.forward += event.count
        elif event.key in _BACKWARD:
            calls.backward += event.count
        elif event.key.startswith("aten::_scaled_dot_product"):
            calls.pytorch += event.count
