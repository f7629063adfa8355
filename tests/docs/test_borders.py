"""The borders between the rooms of the house (docs/architecture.md)."""

import re

from tree import ROOT, files

LIMIT = 500  # lines: a file has one subject and is read in one sitting


def includes(pattern, *folders):
    """The files in `folders` that include a header whose name starts with `pattern`."""
    line = re.compile(rf'^\s*#\s*include\s*[<"]{pattern}', re.MULTILINE)
    return {
        path.relative_to(ROOT).as_posix()
        for path in files(*folders)
        if line.search(path.read_text(errors="replace"))
    }


def test_the_checks_see_the_includes():
    assert includes("hwy/", "src/core/kernels"), "no kernel includes Highway: the pattern is wrong"
    assert includes("regard/", "include"), "no public header includes another: the pattern is wrong"


def test_highway_stays_in_the_kernels():
    everywhere = includes("hwy/", "*.h", "*.cc", "*.cpp", "*.hpp")
    assert not {path for path in everywhere if not path.startswith("src/core/kernels/")}


def test_torch_stays_out_of_the_core():
    assert not includes("(torch|ATen|c10)/", "include", "src/core")


def test_tbb_stays_in_its_executor():
    assert includes("(oneapi/)?tbb/", "include", "src", "python") == {"src/core/executor/tbb.cc"}


def test_arrows_point_one_way():
    assert not includes("(core|torch_ops|models|train|cli)/", "include")
    assert not includes("(torch_ops|models|train|cli)/", "src/core")
    assert not includes("(models|train|cli)/", "src/torch_ops")


def test_files_are_short():
    sources = files("*.h", "*.cc", "*.py", "*.cmake", "*CMakeLists.txt", "dev", "tools/*.sh")
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sources
        if (lines := path.read_text().count("\n")) > LIMIT
    }
    assert not long, f"more than {LIMIT} lines: split them by subject"
