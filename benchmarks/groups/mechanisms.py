# SPDX-License-Identifier: Apache-2.0
"""Every mechanism of docs/mechanisms.md: the line that the page shows, beside what a PyTorch
user would write, results compared first."""

from statistics import median

import regard
from harness.rows import Group, Row
from harness.timing import Contender, interleave, ratios
from mechanisms.inputs import Size
from mechanisms.page import entries
from mechanisms.problem import Problem

from groups.settings import Settings

# Those that leave most pairs out are measured on a long sequence, the rest on a short one: rivals
# hold the whole matrix.
_SPARSE = (
    "window",
    "dilated",
    "global_tokens",
    "blocks",
    "bigbird",
    "documents",
    "tree",
    "local_m",
    "composition",
)
_TANH = ("additive", "luong_concat")  # rivals hold dim numbers for each pair
_WORDS = {"forward": "forward", "step": "forward and backward"}
# How many times as fast as PyTorch additive scores are meant to be: with AVX-512, and without.
_ADDITIVE_GOALS = {"forward": (100, 60), "step": (50, 30)}


def _size(name: str, settings: Settings) -> Size:
    if name in _TANH:
        return Size(settings.pick(256, 512), heads=1, dim=256)
    if name in _SPARSE:
        return Size(settings.pick(2048, 4096, 8192), heads=settings.pick(4, 4, 8))
    return Size(settings.pick(512, 1024, 2048))


def _row(problem: Problem, direction: str, size: Size, settings: Settings) -> Row:
    settings.say(f"{problem.entry.name}, {_WORDS[direction]}")
    difference = problem.difference(direction)  # warms both up
    pair = [
        Contender(whose, lambda whose=whose: problem.run(direction, whose), settings.threads)
        for whose in ("ours", "theirs")
    ]
    ours, theirs = interleave(
        pair,
        settings.pick(3, 9, 15),
        settings.peak,
        most_seconds=settings.pick(1, 2, 10),
        peak_each=False,
    )
    ratio = median(ratios(theirs, ours))
    goal = None
    if problem.entry.name == "additive" and settings.level != "quick":
        goal = _ADDITIVE_GOALS[direction][
            0 if regard.kernel_target() in ("amx_bf16", "avx512_bf16", "avx512") else 1
        ]
    return Row(
        "mechanisms",
        f"{problem.entry.name}, {_WORDS[direction]}",
        ours.time,
        theirs.time,
        problem.rival.against,
        disturbed=ours.disturbed,
        goal=f"{goal}x" if goal else "",
        reached=f"{ratio:.2f}x",
        met=ratio >= goal if goal else None,
        values={
            "mechanism": problem.entry.name,
            "direction": direction,
            "n": size.n,
            "heads": size.heads,
            "d": size.dim,
            "ratio": ratio,
            "difference": difference,
            "rounds": len(ours.seconds),
            "python": problem.entry.python,
        },
    )


def mechanisms(settings: Settings) -> Group:
    rows = []
    for name, entry in entries().items():
        size = _size(name, settings)
        problem = Problem(entry, size)
        rows += [_row(problem, direction, size, settings) for direction in _WORDS]
    long, short, tanh = (_size(name, settings) for name in ("window", "dot", "additive"))
    notes = [
        (
            f"n={short.n}, {short.heads} heads, d={short.dim}; sparse masks n={long.n},"
            f" {long.heads} heads; additive and concat n={tanh.n}, {tanh.heads} head, d={tanh.dim}."
            " Masks and biases without a gradient are made for PyTorch beforehand."
        ),
        "Before a case is timed, results and all gradients of both sides are compared.",
    ]
    return Group(
        "mechanisms",
        "float32, each against what a PyTorch user would write, interleaved",
        rows,
        notes,
    )
