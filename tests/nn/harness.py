# SPDX-License-Identifier: Apache-2.0
"""Runs nn_program (tests/nn/program) on tensors, and compares its answers with PyTorch's."""

import json
import subprocess
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/tests/nn/nn_program"


class ProgramError(Exception):
    pass


def run(folder, request, tensors, parameters=None):
    """The program's answers, by name. `parameters` become those of its module or model."""
    tensors = {name: x.detach().contiguous().clone() for name, x in tensors.items()}
    for name, x in (parameters or {}).items():
        tensors[f"p.{name}"] = x.detach().contiguous().clone()
    (folder / "request.json").write_text(json.dumps(request))
    save_file(tensors, folder / "in.safetensors")
    done = subprocess.run(
        [PROGRAM, folder / "request.json", folder / "in.safetensors", folder / "out.safetensors"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramError(done.stderr.strip() or f"ended with {done.returncode}")
    return load_file(folder / "out.safetensors")


def close(found, expected, what, tolerance=1e-5):
    """Equal to `tolerance` of the largest expected element (or of 1, if that is smaller)."""
    expected = expected.detach()
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    if not expected.numel():
        return
    apart = (found.double() - expected.double()).abs().max().item()
    largest = max(expected.abs().max().item(), 1e-3)
    assert apart <= tolerance * largest, f"{what}: {apart:.2e} apart, the largest is {largest:.2e}"


def compare(answers, out, d_out, leaves, tolerance=1e-5, allow_missing=()):
    """The output and every gradient: `leaves` are the tensors of the expected result by the
    program's names."""
    close(answers["out"], out, "out", tolerance)
    gradients = torch.autograd.grad(out, list(leaves.values()), d_out, allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is None:
            found = answers.get(f"d.{name}")
            assert found is None or not found.any(), f"{name}: a gradient, expected none"
            continue
        if name in allow_missing:
            continue
        close(answers[f"d.{name}"], gradient, f"gradient of {name}", 4 * tolerance)
