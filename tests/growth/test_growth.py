"""How many files a new mask, modifier or score takes: one of each is added to a copy of the tree,
which is then built for one instruction set and run. docs/architecture.md says the counts."""

import os
import re
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    copy = tmp_path_factory.mktemp("growth")
    for name in ("include", "src/core", "cmake"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "CMakeLists.txt", copy)
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
    switches = ("TORCH", "TBB", "TESTS", "BENCHMARKS")
    run(
        "cmake",
        "-G",
        "Ninja",
        "-S",
        tree,
        "-B",
        build,
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS=-O0 -g0 -DHWY_COMPILE_ONLY_STATIC",
        *(f"-DREGARD_{switch}=OFF" for switch in switches),
        f"-DPython_EXECUTABLE={sys.executable}",
        cwd=tree,
    )
    run("cmake", "--build", build, "-j", str(os.cpu_count()), cwd=tree)
    (library,) = build.glob("src/core/libregard.a")
    program = build / "program"
    run(
        "c++",
        "-std=c++20",
        "-O0",
        "-I",
        tree / "include",
        ROOT / "tests/growth/program.cc",
        library,
        *hwy_libraries(build),
        "-lpthread",
        "-o",
        program,
        cwd=tree,
    )
    assert "compute what they say" in run(program, cwd=tree)


def hwy_libraries(build):
    """The Highway that the build found."""
    cache = (build / "CMakeCache.txt").read_text()
    found = re.search(r"^HWY_DIR:\w+=(.*)$", cache, re.MULTILINE)
    places = [Path(found[1]).parents[1] if found else Path("/usr/lib"), Path("/usr/lib")]
    for place in places:
        for library in sorted(place.rglob("libhwy.*")):
            if library.suffix in (".a", ".so"):
                return [library]
    return ["-lhwy"]


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
