# SPDX-License-Identifier: Apache-2.0
"""What every group is given."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.peak import Peak


@dataclass
class Settings:
    peak: Peak
    threads: int  # as many as PyTorch would use by itself
    level: str  # "quick", "default" or "full"
    say: Callable[[str], None]  # tells a waiting user what is being measured

    def pick(self, quick, default, full=None):
        """The value for this run's level."""
        if self.level == "quick":
            return quick
        return full if self.level == "full" and full is not None else default
