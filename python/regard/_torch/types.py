# SPDX-License-Identifier: Apache-2.0
"""Types of arguments that many functions take."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor

# What a mask is made of: an integer tensor, or numbers (a sequence, an array of numpy's).
Integers: TypeAlias = Tensor | Sequence[int]
# Keys: a tensor, or what regard.prepare_keys made of one.
Keys: TypeAlias = Any
# Which rows, columns or heads of a map are wanted.
Wanted: TypeAlias = int | slice | Sequence[int] | None
