# SPDX-License-Identifier: Apache-2.0
"""Contenders timed in turns, each between two measurements of the processor's peak."""

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import median

import torch

from harness.peak import Peak


@dataclass
class Contender:
    name: str
    call: Callable[[], object]
    threads: int
    flops: float = 0.0  # of one call
    kind: str = "fma"  # which peak it is compared with
    context: Callable = nullcontext  # entered around the calls, outside the time that counts
    wall: bool = False  # by the clock on the wall, also where there is one thread
    # found out by calls_for: waking threads and caches after a pause would be a good part of its
    # time
    short: bool = False


@dataclass
class Timing:
    """One contender's samples, one for each repetition."""

    contender: Contender
    seconds: list[float] = field(default_factory=list)  # of one call
    peaks: list[float] = field(default_factory=list)  # operations a second around that sample
    given: list[float] = field(
        default_factory=list
    )  # processors that this process had meanwhile, as a share of its threads

    @property
    def time(self) -> float:
        return median(self.seconds)

    @property
    def disturbed(self) -> bool:
        """Whether others took processors away: then a share of the peak says little, since the
        short peak may miss them."""
        return self.time > 0.005 and median(self.given) < 0.85

    @property
    def rate(self) -> float:
        return self.contender.flops / self.time

    @property
    def peak(self) -> float:
        return median(self.peaks)

    @property
    def shares(self) -> list[float]:
        """Of the peak, repetition by repetition: what slows both at once cancels."""
        return [self.contender.flops / s / p for s, p in zip(self.seconds, self.peaks, strict=True)]

    @property
    def share(self) -> float:
        return median(self.shares)


def ratios(slower: Timing, faster: Timing) -> list[float]:
    """How many times as long the first took, pair by pair."""
    return [a / b for a, b in zip(slower.seconds, faster.seconds, strict=True)]


def _sample(contender: Contender, calls: int) -> tuple[float, float]:
    """Seconds of one call, and the share of its threads' processors that this process had. One
    thread is timed by its processor's
    time, so that what others take away does not count; several by the clock on the wall."""
    call = contender.call
    alone = contender.threads == 1 and not contender.wall
    clock = time.thread_time if alone else time.perf_counter
    with contender.context():
        if contender.short:
            call()  # wakes the threads and the caches, after the peak has run
        wall, processors, start = time.perf_counter(), time.process_time(), clock()
        for _ in range(calls):
            call()
        seconds = clock() - start
        wall, processors = time.perf_counter() - wall, time.process_time() - processors
        return seconds / calls, 1.0 if alone else processors / wall / contender.threads


def _with_threads(contender: Contender) -> None:
    if torch.get_num_threads() != contender.threads:
        torch.set_num_threads(contender.threads)


_SHORT = 0.02  # seconds; waking up is nothing beside a longer call


def calls_for(contender: Contender, least_seconds: float) -> int:
    """How many calls make a sample at least so long. Warms the contender up."""
    _with_threads(contender)
    first, _ = _sample(contender, 1)
    second, _ = _sample(contender, 1)  # the first may have compiled something
    contender.short = min(first, second) < _SHORT
    if min(first, second) > 50 * least_seconds:
        return 1
    once = min(second, _sample(contender, 1)[0])
    return max(1, min(2000, round(least_seconds / once)))


_FEWEST = 3  # rounds, however slow a machine is


def interleave(
    contenders: list[Contender],
    repeats: int,
    peak: Peak,
    *,
    least_seconds: float = 0.002,
    peak_each: bool = True,
    warm: bool = True,
    most_seconds: float = 8.0,
) -> list[Timing]:
    """`repeats` rounds in which every contender has its turn; fewer, but three at least, where
    they last longer than `most_seconds`. Between turns the peak is measured, on the threads of
    the contender; with peak_each=False only before and after each round (all contenders then use
    the same threads and peak). Each round then begins with another of them: the one that follows
    the peak takes up to half as long again, for some milliseconds."""
    start = time.perf_counter()
    calls = [calls_for(c, least_seconds) if warm else 1 for c in contenders]
    warmed = any(c.short for c in contenders)  # all of them or none: they stand beside one another
    for c in contenders:
        c.short = warmed
    timings = [Timing(c) for c in contenders]
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        order = list(range(len(contenders)))
        for done_rounds in range(repeats):
            if done_rounds >= _FEWEST and time.perf_counter() - start > most_seconds:
                break
            before = peak.measure(contenders[0].kind, contenders[0].threads)
            for i, which in enumerate(order):
                contender, timing = contenders[which], timings[which]
                _with_threads(contender)
                seconds, given = _sample(contender, calls[which])
                timing.seconds.append(seconds)
                timing.given.append(given)
                last = i + 1 == len(contenders)
                if not (peak_each or last):
                    continue
                after = peak.measure(contender.kind, contender.threads)
                for done in timings[: i + 1] if not peak_each else [timing]:
                    done.peaks.append((before + after) / 2)
                if last:
                    continue
                following = contenders[i + 1]
                same = (following.kind, following.threads) == (contender.kind, contender.threads)
                before = after if same else peak.measure(following.kind, following.threads)
            if not peak_each:
                order = [*order[1:], order[0]]
    finally:
        if collected:
            gc.enable()
    return timings
