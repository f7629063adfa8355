# SPDX-License-Identifier: Apache-2.0
"""What `./dev` offers beside tests works: the linter finds nothing in the Python code, and a
benchmark runs to its end."""

import json
import subprocess
import sys

from tree import ROOT


def run(*command):
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_ruff_finds_nothing():
    for arguments in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        result = run("-m", "ruff", *arguments, ".")
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_type_checker_finds_nothing():
    result = run("-m", "mypy")
    assert result.returncode == 0, result.stdout


def test_a_benchmark_runs_and_writes_its_figures(tmp_path):
    path = tmp_path / "figures.json"
    result = run("benchmarks/bench.py", "overhead", "--quick", "--json", str(path))
    assert result.returncode == 0, result.stderr
    assert "== overhead" in result.stdout
    (group,) = json.loads(path.read_text())["groups"]
    assert group["rows"] and all(row["ours_ms"] > 0 for row in group["rows"])
