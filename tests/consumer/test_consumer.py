"""Installs the library into an empty folder, and builds and runs a project that finds it there."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def sh(*command):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    sh("cmake", "--install", ROOT / "build/release", "--component", "cpp", "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def built(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumer")
    sh(
        "cmake",
        "-G",
        "Ninja",
        "-S",
        HERE,
        "-B",
        folder,
        f"-DCMAKE_PREFIX_PATH={installed}",
        "-DCMAKE_BUILD_TYPE=Release",
    )
    sh("cmake", "--build", folder)
    return folder


@pytest.mark.parametrize("program", ["plain", "with_tbb"])
def test_a_project_outside_the_tree_links_and_runs(built, program):
    assert sh(built / program) == f"{program}: ok\n"


def test_installed_files_do_not_name_this_checkout(installed):
    """A package that points back into the source tree works here and nowhere else."""
    for path in [*installed.rglob("*.cmake"), *installed.rglob("*.h")]:
        assert str(ROOT) not in path.read_text(), path


def test_every_public_header_is_installed_and_stands_alone(installed, tmp_path):
    headers = sorted(path.relative_to(ROOT / "include") for path in (ROOT / "include").rglob("*.h"))
    assert headers
    for header in headers:
        source = tmp_path / f"{header.stem}.cc"
        source.write_text(f"#include <{header}>\n#include <{header}>\nint main() {{}}\n")
        sh(
            "c++",
            "-std=c++20",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            "-I",
            installed / "include",
            source,
        )
