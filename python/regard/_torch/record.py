# SPDX-License-Identifier: Apache-2.0
"""One record of the encoding (include/regard/encoding.h): integers, floats and tensors of its
own."""

from collections.abc import Sequence
from typing import Any

from . import ops_library

# Of each kind of record its number, by its name, and how many floats and tensors it takes, from the
# table that the library decodes with.
KINDS, _NAMES, _FLOATS, _TENSORS = {}, {}, {}, {}
for _line in ops_library.record_kinds().splitlines():
    _name, _kind, _floats, _tensors = _line.split()
    KINDS[_name], _NAMES[int(_kind)] = int(_kind), _name
    _FLOATS[int(_kind)], _TENSORS[int(_kind)] = int(_floats), int(_tensors)


class Record:
    __slots__ = ("floats", "given", "ints", "name", "tensors")

    def __init__(
        self,
        name: str,
        ints: Sequence[int] = (),
        floats: Sequence[float] = (),
        tensors: Sequence[Any] = (),
        given: Sequence[Any] = (),
    ) -> None:
        self.name = name
        self.ints = (KINDS[name], len(ints), *ints)
        self.floats = floats
        self.tensors = tensors
        # (shape, what was expected) of the tensors as the user gave them, for errors
        self.given = given

    def __repr__(self):
        return f"regard.{self.name}(...)"


def kinds(ints):
    """Of all records in a list of their integers."""
    at = 0
    while at < len(ints):
        yield ints[at]
        at += 2 + ints[at + 1]


def options_text(
    ints: Sequence[int], floats: Sequence[float] = (), tensors: Sequence[Any] = ()
) -> str:
    """Options for a person to read, a record a line: of a call in a compiled graph, say, whose
    arguments they are (torch.ops.regard.attention). Without `tensors` these are shown by their
    index."""
    return ops_library.options_text(list(ints), list(floats), list(tensors))


class Parsed:
    """A record read back from the three lists. `places`: of its tensors, in their list."""

    __slots__ = ("floats", "ints", "is_mask", "name", "places", "tensors")

    def __init__(self, kind, ints, floats, places, tensors):
        self.name = _NAMES[kind]
        self.is_mask = kind < KINDS["scale"]
        self.ints = ints
        self.floats = floats
        self.places = places
        self.tensors = [tensors[n] for n in places]


def parsed(ints, floats, tensors):
    """The records of three lists, in order."""
    at = float_at = tensor_at = 0
    while at < len(ints):
        kind, count = ints[at : at + 2]
        float_end = float_at + _FLOATS[kind]
        tensor_end = tensor_at + _TENSORS[kind]
        yield Parsed(
            kind,
            tuple(ints[at + 2 : at + 2 + count]),
            tuple(floats[float_at:float_end]),
            tuple(range(tensor_at, tensor_end)),
            tensors,
        )
        at, float_at, tensor_at = at + 2 + count, float_end, tensor_end
