# SPDX-License-Identifier: Apache-2.0
"""The kernel alone, beside PyTorch's: a short table."""

import time
from statistics import median

import regard
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table

_LENGTH, _HEADS, _ROUNDS = 2048, 8, 5


def _ours(q, k, v, causal: bool):
    return regard.attention(q, k, v, mask=regard.causal() if causal else None)


def _theirs(q, k, v, causal: bool):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _calls(attention, tensors, d_out, causal: bool, backward: bool):
    """What is timed: a forward pass, or the backward pass alone."""
    if not backward:
        plain = [t.detach() for t in tensors]
        return lambda: attention(*plain, causal)
    out = attention(*tensors, causal)
    return lambda: torch.autograd.grad(out, tensors, d_out, retain_graph=True)


def _case(dim: int, causal: bool, backward: bool) -> tuple[float, float]:
    """Median seconds of both, taken in turns: (PyTorch's, ours)."""
    *tensors, d_out = (torch.randn(1, _HEADS, _LENGTH, dim) for _ in range(4))
    for t in tensors:
        t.requires_grad_()
    calls = [_calls(f, tensors, d_out, causal, backward) for f in (_theirs, _ours)]
    for call in calls:
        call()
    rounds = [[_seconds(call) for call in calls] for _ in range(_ROUNDS)]
    return tuple(median(column) for column in zip(*rounds, strict=True))


def show(console: Console) -> None:
    threads = torch.get_num_threads()
    console.print(
        f"[bold]2. The kernel beside PyTorch's[/bold]: {_HEADS} heads, {_LENGTH} tokens, float32,"
        f" {threads} threads"
    )
    table = Table("", "dim", "PyTorch", "Regard", "speed-up", "Regard, GFLOP/s")
    for column in table.columns[1:]:
        column.justify = "right"
    cases = [
        (dim, causal, backward)
        for backward in (False, True)
        for causal in (False, True)
        for dim in (64, 128)
    ]
    for dim, causal, backward in track(cases, "timing, in turns", console=console, transient=True):
        theirs, ours = _case(dim, causal, backward)
        flops = (
            4.0 * _LENGTH**2 * dim * _HEADS * (0.5 if causal else 1.0) * (2.5 if backward else 1.0)
        )
        name = ("backward" if backward else "forward") + (", causal" if causal else "")
        table.add_row(
            name,
            str(dim),
            f"{theirs * 1e3:.1f} ms",
            f"{ours * 1e3:.1f} ms",
            f"{theirs / ours:.2f}x",
            f"{flops / ours * 1e-9:.0f}",
        )
    console.print(table)
    console.print(
        "Medians; `./dev bench` measures many more cases, each beside the processor's peak.\n"
    )
