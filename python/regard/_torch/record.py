"""One record of the encoding (include/regard/encoding.h): integers, floats and tensors of its
own."""

from . import ops_library

# The number of each kind of record, by its name, from the table that the library decodes with.
KINDS = {name: int(kind) for name, kind in map(str.split, ops_library.record_kinds().splitlines())}


class Record:
    __slots__ = ("floats", "given", "ints", "name", "tensors")

    def __init__(self, name, ints=(), floats=(), tensors=(), given=()):
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


def options_text(ints, floats=(), tensors=()):
    """Options for a person to read, a record a line: of a call in a compiled graph, say, whose
    arguments they are (torch.ops.regard.attention). Without `tensors` these are shown by their
    index."""
    return ops_library.options_text(list(ints), list(floats), list(tensors))
