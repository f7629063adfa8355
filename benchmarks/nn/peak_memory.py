# SPDX-License-Identifier: Apache-2.0
"""The memory that a piece of work needs beyond what the process holds before it (Linux, glibc): the
other side's answers to "held" and "peak", as peak_memory.h gives ours."""

import ctypes
from pathlib import Path


def _status_bytes(name):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(name + ":")[1].split()[0])


def held_bytes():
    """What the process holds. Gives back what is free first, so that work that takes it again is
    counted, and begins a new peak: loading a model needs more than the model."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def peak_bytes():
    """The most that it has held since."""
    return _status_bytes("VmHWM")


def of_work(side, work):
    """MiB beyond what `side`, a train_steps.Process, holds before `work`."""
    before = side.ask("held")[0]
    side.ask(work)
    return (side.ask("peak")[0] - before) / 2**20
