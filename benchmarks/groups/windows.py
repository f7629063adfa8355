# SPDX-License-Identifier: Apache-2.0
"""Causal windows on long sequences: time in proportion to n, and FlexAttention beside it."""

from statistics import median

import torch
from harness.attention import Case, Tensors, contender
from harness.rows import Group, Row
from harness.timing import Contender, Timing, interleave, ratios

from groups.settings import Settings

_WINDOWS = (256, 1024)
_FIRST = 8192
_GOAL_FLEX = 3.0
# Time per query, against the shortest sequence's: n queries cost n, and caches may not let it grow
# by more than this.
_GOAL_GROWTH = 1.25


def _flex(case: Case, tensors: Tensors, threads: int) -> Contender:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    window = case.window

    def allowed(b, h, i, j):
        return (i >= j) & (i - j < window)

    blocks = create_block_mask(allowed, None, None, case.n, case.n, device="cpu")
    compiled = torch.compile(flex_attention)

    def call():
        with torch.no_grad():
            return compiled(tensors.q, tensors.k, tensors.v, block_mask=blocks)

    return Contender("FlexAttention, compiled", call, threads, case.flops)


def _result(case: Case, ours: Timing, **more) -> Row:
    return Row(
        "windows",
        f"{case.direction} fp32, {case}, {ours.contender.threads} threads",
        ours.time,
        rate=ours.rate,
        peak=ours.peak,
        share=ours.share,
        disturbed=ours.disturbed,
        values={"n": case.n, "d": case.d, "window": case.window, "direction": case.direction},
        **more,
    )


def _beside_flex(case: Case, settings: Settings) -> Row:
    settings.say(f"forward, {case}: FlexAttention compiles")
    tensors = Tensors(case)
    pair = [
        contender("regard.attention", case, tensors, settings.threads),
        _flex(case, tensors, settings.threads),
    ]
    ours, theirs = interleave(pair, settings.pick(5, 15, 30), settings.peak)
    times = median(ratios(theirs, ours))
    return _result(
        case,
        ours,
        theirs=theirs.time,
        against="FlexAttention",
        goal=f"{_GOAL_FLEX:g}x FlexAttention",
        reached=f"{times:.1f}x",
        met=times >= _GOAL_FLEX,
    )


def _beside_mask(case: Case, settings: Settings) -> Row:
    """What PyTorch offers for the backward pass: SDPA with a boolean mask."""
    settings.say(f"{case.direction}, {case}, PyTorch with a mask")
    tensors = Tensors(case)
    ways = ("regard.attention", "PyTorch")
    ours, theirs = interleave(
        [contender(w, case, tensors, settings.threads) for w in ways], 1, settings.peak, warm=False
    )
    return _result(case, ours, theirs=theirs.time, against="PyTorch SDPA, boolean mask")


def _growth(window: int, direction: str, settings: Settings) -> list[Row]:
    lengths = settings.pick((8192, 32768), (8192, 16384, 32768, 65536))
    cases = [Case(n, 64, True, direction, window=window) for n in lengths]
    settings.say(f"{direction}, window {window}, n from {lengths[0]} to {lengths[-1]}")
    contenders = [
        contender("regard.attention", case, Tensors(case), settings.threads) for case in cases
    ]
    timings = interleave(contenders, settings.pick(3, 7, 15), settings.peak)
    rows = []
    for case, timing in zip(cases[1:], timings[1:], strict=True):
        growth = median(a / b for a, b in zip(timing.seconds, timings[0].seconds, strict=True)) / (
            case.n / lengths[0]
        )
        rows.append(
            _result(
                case,
                timing,
                goal=f"time / n at most {_GOAL_GROWTH}x that of n={lengths[0]}",
                reached=f"{growth:.2f}x",
                met=growth <= _GOAL_GROWTH,
            )
        )
    return rows


def windows(settings: Settings) -> Group:
    rows, notes = [], []
    for window in _WINDOWS:
        first = Case(_FIRST, 64, True, window=window)
        if settings.level != "quick":
            rows.append(_beside_flex(first, settings))
            rows.append(_beside_mask(first.but(direction="backward"), settings))
        for direction in ("forward", "backward"):
            rows += _growth(window, direction, settings)
    if settings.level == "quick":
        notes.append("FlexAttention is left out of a quick run: it compiles for half a minute.")
    else:
        notes.append(
            "FlexAttention has no backward pass on CPUs; beside ours stands PyTorch's SDPA with a"
            " boolean mask."
        )
    return Group(
        "windows", "float32, 8 heads, d=64; a window counts the query's own key", rows, notes
    )
