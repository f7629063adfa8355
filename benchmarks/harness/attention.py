# SPDX-License-Identifier: Apache-2.0
"""Attention calls to be timed: ours and everybody else's, forward and backward, over the same
tensors."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace

import regard
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.timing import Contender

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DIRECTIONS = (
    "forward",
    "backward",
    "step",
)  # a step is a forward that keeps what its backward needs, and that backward


@dataclass(frozen=True)
class Case:
    n: int
    d: int
    causal: bool = False
    direction: str = "forward"
    dtype: str = "fp32"
    batch: int = 1
    heads: int = 8
    window: int = 0  # keys that a query sees, its own included; 0: all

    @property
    def pairs(self) -> float:
        if self.window:
            edge = min(self.window, self.n)
            return self.n * edge - edge * (edge - 1) / 2
        return self.n * self.n * (0.5 if self.causal else 1.0)

    @property
    def flops(self) -> float:
        """As FlashAttention counts: 4 n n d forward (half when causal), 2.5 times that backward."""
        forward = 4.0 * self.pairs * self.d * self.heads * self.batch
        return forward * {"forward": 1.0, "backward": 2.5, "step": 3.5}[self.direction]

    def __str__(self) -> str:
        parts = [f"n={self.n} d={self.d}"]
        if self.batch > 1:
            parts.append(f"batch {self.batch}")
        if self.heads != 8:
            parts.append(f"{self.heads} head" + ("s" if self.heads > 1 else ""))
        if self.window:
            parts.append(f"window {self.window}")
        elif self.causal:
            parts.append("causal")
        return ", ".join(parts)

    def but(self, **changes) -> "Case":
        return replace(self, **changes)


def _ours(case: Case):
    if case.window:
        return lambda q, k, v: regard.attention(q, k, v, mask=regard.window(case.window - 1, 0))
    if case.causal:
        return lambda q, k, v: regard.attention(q, k, v, mask=regard.causal())
    return lambda q, k, v: regard.attention(q, k, v)


def _sdpa(case: Case):
    if case.window:
        row = torch.arange(case.n)
        behind = row[:, None] - row[None, :]
        mask = (behind >= 0) & (behind < case.window)
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=case.causal)


def _plain(case: Case):
    scale = 1.0 / math.sqrt(case.d)
    if not case.causal:
        return lambda q, k, v: torch.softmax((q * scale) @ k.transpose(-1, -2), dim=-1) @ v
    hidden = torch.ones(case.n, case.n, dtype=torch.bool).triu(1)
    return lambda q, k, v: (
        torch.softmax(((q * scale) @ k.transpose(-1, -2)).masked_fill_(hidden, -math.inf), dim=-1)
        @ v
    )


# name: (the function for a case, the context it runs in)
WAYS = {
    "regard.attention": (_ours, nullcontext),
    "regard.enable()": (_sdpa, lambda: regard.enabled()),
    "PyTorch fused": (_sdpa, lambda: sdpa_kernel([SDPBackend.FLASH_ATTENTION])),
    "PyTorch": (_sdpa, nullcontext),
    "PyTorch math": (_sdpa, lambda: sdpa_kernel([SDPBackend.MATH])),
    "softmax(q @ k.T) @ v": (_plain, nullcontext),
}


class Tensors:
    """q, k, v and the gradient that arrives, the same for every contender of a case."""

    def __init__(self, case: Case):
        generator = torch.Generator().manual_seed(case.n * 1000 + case.d)
        shape = (case.batch, case.heads, case.n, case.d)
        self.q, self.k, self.v, self.d_out = (
            torch.randn(shape, generator=generator).to(DTYPES[case.dtype]) for _ in range(4)
        )
        self.leaves = [t.detach().clone().requires_grad_() for t in (self.q, self.k, self.v)]


def contender(way: str, case: Case, tensors: Tensors, threads: int, kind: str = "fma") -> Contender:
    make, context = WAYS[way]
    return contender_of(way, make(case), case, tensors, threads, kind, context)


def contender_of(
    name: str,
    function,
    case: Case,
    tensors: Tensors,
    threads: int,
    kind: str = "fma",
    context=nullcontext,
) -> Contender:
    """Calls of `function`, which takes q, k and v, in the direction of the case."""
    leaves = tensors.leaves
    if case.direction == "forward":

        def call():
            with torch.no_grad():
                return function(tensors.q, tensors.k, tensors.v)

    elif case.direction == "backward":
        torch.set_num_threads(threads)
        with context():
            out = function(*leaves)

        def call():
            return torch.autograd.grad(out, leaves, tensors.d_out, retain_graph=True)

    else:

        def call():
            return torch.autograd.grad(function(*leaves), leaves, tensors.d_out)

    return Contender(name, call, threads, case.flops, kind, context)
