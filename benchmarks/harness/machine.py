# SPDX-License-Identifier: Apache-2.0
"""What a result was measured on."""

import datetime
import os
import platform
import subprocess

import torch

from harness.paths import ROOT


def _processor() -> str:
    """The model's name, and its family and number: behind a hypervisor, names of different
    generations are alike."""
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                name, _, value = line.partition(":")
                facts.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    return (
        f"{facts['model name']} (family {facts.get('cpu family', '?')}, model"
        f" {facts.get('model', '?')})"
    )


def _commit() -> str:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"


def describe(target: str, threads: int, peaks: dict[str, float]) -> dict:
    """`peaks`: GFLOP/s by name, as measured when the run began."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "target": target,
        "threads": threads,
        "peaks_gflops": {name: round(value, 1) for name, value in peaks.items()},
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0],
        "commit": _commit(),
    }
