# SPDX-License-Identifier: Apache-2.0
"""Every public function and method says what it takes and gives; `./dev lint` has a type checker
look at them (python/regard/py.typed tells other people's)."""

import inspect

import pytest
import regard


def public_functions():
    for name in regard.__all__:
        thing = getattr(regard, name)
        if inspect.isclass(thing):
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                own = function.__module__.startswith("regard")
                if own and (not method.startswith("_") or method == "__init__"):
                    yield f"{name}.{method}", function
        elif callable(thing):
            yield name, thing


@pytest.mark.parametrize(("name", "function"), list(public_functions()))
def test_is_annotated(name, function):
    signature = inspect.signature(function)
    bare = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is inspect.Parameter.empty and parameter.name != "self"
    ]
    assert not bare, f"regard.{name}: no type for {', '.join(bare)}"
    assert signature.return_annotation is not inspect.Signature.empty, f"regard.{name}: returns?"
