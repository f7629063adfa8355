# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's matrix product (MKL) reaches of the same peak: a measure of the machine at this
hour that reads memory, as kernels do and the peak does not."""

import torch

from harness.peak import Peak
from harness.timing import Contender, interleave

SIZE = 2048
_REPEATS = 9


def shares(peak: Peak, threads: list[int]) -> dict[str, float]:
    """By number of threads (as text: JSON has no other keys): torch.mm of two float32 matrices
    of SIZE x SIZE, as a share of the peak."""
    a, b, out = (torch.randn(SIZE, SIZE) for _ in range(3))
    contenders = [
        Contender("torch.mm", lambda: torch.mm(a, b, out=out), t, flops=2.0 * SIZE**3)
        for t in threads
    ]
    return {
        str(t): timing.share
        for t, timing in zip(threads, interleave(contenders, _REPEATS, peak), strict=True)
    }
