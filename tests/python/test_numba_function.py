# SPDX-License-Identifier: Apache-2.0
"""examples/numba_function.py: a function that numba compiled, on several threads, against
autograd of its formula."""

import importlib.util
from pathlib import Path

import torch

_path = Path(__file__).parents[2] / "examples" / "numba_function.py"
_spec = importlib.util.spec_from_file_location("numba_function_example", _path)
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)


def test_results_and_gradients_are_those_of_the_formula(capsys):
    torch.set_num_threads(2)
    example.check()
    assert "gradcheck: passed" in capsys.readouterr().out
