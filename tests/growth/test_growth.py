# SPDX-License-Identifier: Apache-2.0
"""How many files a new mask, modifier or score takes: one of each is added to a copy of the tree,
which is then built for one instruction set and run. docs/architecture.md says the counts."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from additions import ALL

ROOT = Path(__file__).resolve().parent.parent.parent
# the score of a new kind is a policy and a set of kernels: its backward pass would be another
# policy in the same file
SAID = re.compile(r"\| (mask|modifier|score) \| (\d+ new, \d+ edited) \|")


def apply(addition, tree):
    for path, text in addition.new.items():
        assert not (tree / path).exists(), f"{path} is not new"
        (tree / path).write_text(text.lstrip())
    for path, insertions in addition.edits.items():
        text = (tree / path).read_text()
        for before, lines in insertions:
            assert text.count(before) == 1, f"{path} has not one place {before!r}"
            text = text.replace(before, lines + before)
        (tree / path).write_text(text)


BUILD = """
cmake_minimum_required(VERSION 3.25)
project(growth CXX)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_EXTENSIONS OFF)
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
add_subdirectory(src/core)
add_executable(program program.cc)
target_link_libraries(program PRIVATE regard)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    copy = tmp_path_factory.mktemp("growth")
    for name in ("include", "src/core"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "tests/growth/program.cc", copy)
    (copy / "CMakeLists.txt").write_text(BUILD)
    for addition in ALL.values():
        apply(addition, copy)
    return copy


def run(*command, cwd):
    ended = subprocess.run(
        command,
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={**os.environ, "CCACHE_BASEDIR": str(cwd), "CCACHE_NOHASHDIR": "1"},
    )
    assert ended.returncode == 0, f"{' '.join(map(str, command))}:\n{ended.stdout[-8000:]}"
    return ended.stdout


def test_the_page_says_how_many_files_each_kind_takes():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert dict(SAID.findall(page)) == {kind: addition.summary for kind, addition in ALL.items()}


def test_what_was_added_is_all_that_it_takes(tree):
    build = tree / "build"
    flags = "-O0 -g0 -DHWY_COMPILE_ONLY_STATIC"
    run("cmake", "-G", "Ninja", "-B", build, f"-DCMAKE_CXX_FLAGS={flags}", cwd=tree)
    run("cmake", "--build", build, "-j", str(os.cpu_count()), cwd=tree)
    assert "compute what they say" in run(build / "program", cwd=tree)


def test_a_modifier_without_a_description_does_not_compile(tree):
    source = tree / "undescribed.cc"
    source.write_text(
        '#include "core/modifiers/modifiers.h"\n'
        "regard::modifiers::Facts facts(const regard::Modifier& m)"
        " { return regard::modifiers::facts_of(m); }\n"
    )
    include = tree / "src/core/modifiers/modifiers.h"
    compile_it = ("c++", "-std=c++20", "-fsyntax-only", "-Iinclude", "-Isrc", source)
    run(*compile_it, cwd=tree)
    text = include.read_text()
    include.write_text(text.replace('#include "core/modifiers/stretch.h"\n', ""))
    try:
        with pytest.raises(AssertionError, match="Stretch"):
            run(*compile_it, cwd=tree)
    finally:
        include.write_text(text)
