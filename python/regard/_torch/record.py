"""One record of the encoding (include/regard/encoding.h): integers, floats and tensors of its
own."""


class Record:
    __slots__ = ("floats", "given", "ints", "name", "tensors")

    def __init__(self, name, kind, ints=(), floats=(), tensors=(), given=()):
        self.name = name
        self.ints = (kind, len(ints), *ints)
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
