# SPDX-License-Identifier: Apache-2.0
"""What the code of a module's class says about how it computes attention. Models do not say it in
any other way: the names that their functions use are what there is to go by."""

import dis
import functools
import re
import types

import torch

INTERFACE, OWN, OTHER = "interface", "own", "other"

_INTERFACE_NAMES = {"ALL_ATTENTION_FUNCTIONS", "get_interface"}
_PRODUCTS = {"matmul", "bmm", "einsum", "baddbmm"}
_MATRIX_PRODUCT = 4  # of BINARY_OP, CPython's NB_MATRIX_MULTIPLY
_SDPA = "scaled_dot_product_attention"
_ATTENTION = re.compile(r"atten|attn", re.IGNORECASE)


@functools.cache
def kind(cls):
    """INTERFACE where the class calls transformers' attention interface, OWN where it computes
    attention itself, OTHER for what is no attention."""
    if issubclass(cls, torch.nn.MultiheadAttention):
        return OWN
    names = uses(cls)
    if names & _INTERFACE_NAMES:
        return INTERFACE
    attends = _SDPA in names or (bool(names & {"softmax", "Softmax"}) and bool(names & _PRODUCTS))
    return OWN if attends and _ATTENTION.search(cls.__name__) else OTHER


@functools.cache
def uses(cls):
    """The names that functions of a class use, with those of the module's functions that they
    call."""
    found = set()
    for function in _functions(cls):
        for code in _codes(function.__code__):
            found |= _names(code)
            for name in code.co_names:
                helper = function.__globals__.get(name)
                if isinstance(helper, types.FunctionType) and _near(helper, function):
                    for inner in _codes(_unwrapped(helper).__code__):
                        found |= _names(inner)
    return frozenset(found)


def class_tables(cls, name):
    """Tables from an implementation's name to a class, {"eager": ..., "sdpa": ...}, that a model
    class, or a class that it builds, looks its attention up in, and in which ``name`` is not:
    their names."""
    return _tables(cls, name, set())


def _tables(cls, name, seen):
    if cls in seen:
        return []
    seen.add(cls)
    found = []
    for function in _functions(cls):
        if function.__name__ != "__init__":
            continue
        for used in {used for code in _codes(function.__code__) for used in _names(code)}:
            x = function.__globals__.get(used)
            if isinstance(x, dict) and "eager" in x and name not in x and _holds_modules(x):
                found.append(used)
            elif _is_module_of(x, cls):
                found += _tables(x, name, seen)
    return found


def _holds_modules(table):
    return all(isinstance(x, type) and issubclass(x, torch.nn.Module) for x in table.values())


def _is_module_of(x, cls):
    """Whether x is a class of modules from the same file; models of their own are looked at when
    they are built."""
    is_module = isinstance(x, type) and issubclass(x, torch.nn.Module)
    return is_module and x.__module__ == cls.__module__ and not hasattr(x, "post_init")


def _near(helper, function):
    return helper.__module__ == function.__module__


def _unwrapped(function):
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _functions(cls):
    """The functions of a class and its bases, up to those of torch."""
    for base in cls.__mro__:
        if base.__module__.startswith(("torch.", "builtins")) or base.__name__ == "PreTrainedModel":
            continue
        for x in vars(base).values():
            x = x.__func__ if isinstance(x, (staticmethod, classmethod)) else x
            if isinstance(x, types.FunctionType):
                inner = _unwrapped(x)
                if isinstance(inner, types.FunctionType):
                    yield inner


def _codes(code):
    """A function's code and that of functions within it."""
    yield code
    for x in code.co_consts:
        if isinstance(x, types.CodeType):
            yield from _codes(x)


@functools.cache
def _names(code):
    names = set(code.co_names)
    if _has_matrix_product(code):
        names.add("matmul")
    return frozenset(names)


def _has_matrix_product(code):
    """Whether a @ b stands in it."""
    operations = code.co_code[::2]
    if "BINARY_MATRIX_MULTIPLY" in dis.opmap:  # Python 3.10
        return dis.opmap["BINARY_MATRIX_MULTIPLY"] in operations
    binary = dis.opmap["BINARY_OP"]
    pairs = zip(operations, code.co_code[1::2], strict=True)
    return any(operation == binary and kind == _MATRIX_PRODUCT for operation, kind in pairs)
