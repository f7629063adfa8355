# SPDX-License-Identifier: Apache-2.0
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
    found = includes("(torch|ATen|c10)/", "include", "src/core")
    models = tuple(f"include/regard/{folder}/" for folder in ("nn", "generate", "train"))
    models += ("include/regard/image/augment.h", "include/regard/image/processor.h")
    assert not {path for path in found if not path.startswith(models)}


def test_the_stable_operators_do_without_the_rest_of_torch():
    """One binary of them serves several versions of PyTorch."""
    everything = includes("(torch|ATen|c10)/", "src/torch_ops")
    stable = includes("torch/csrc/(stable|inductor/aoti_torch/c)/", "src/torch_ops")
    assert everything == stable and not includes("torch/torch.h", "src/torch_ops")


def test_tbb_stays_in_its_executor():
    assert includes("(oneapi/)?tbb/", "include", "src", "python") == {"src/core/executor/tbb.cc"}


def test_arrows_point_one_way():
    assert not includes("(core|torch_ops|nn|models|train|cli)/", "include")
    assert not includes("(torch_ops|nn|models|train|cli)/", "src/core")
    assert not includes("(nn|models|train|cli)/", "src/torch_ops")
    assert not includes("(core|models|train|cli)/", "src/nn")
    assert not includes("regard/(generate|train)/", "include/regard/nn", "src/nn", "src/text")
    assert not includes("cli/", "src", "include")
    assert not includes("regard/nn/", ":(glob)include/regard/*.h", "src/core", "src/torch_ops")


def core_includes():
    """{file of src/core: the files of src/core that it includes}, by their paths below src."""
    line = re.compile(r'^\s*#\s*include\s*"(core/[^"]+)"', re.MULTILINE)
    return {
        path.relative_to(ROOT / "src").as_posix(): set(line.findall(path.read_text()))
        for path in files("src/core")
        if path.suffix in (".h", ".cc")
    }


def reached(graph, begin):
    """Everything that `begin` leads to, over any number of steps."""
    found, waiting = set(), list(begin)
    while waiting:
        for node in graph.get(waiting.pop(), ()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def folder(path):
    return path.rpartition("/")[0]


def test_folders_of_the_core_include_each_other_one_way():
    folders = {}
    for path, included in core_includes().items():
        # the sets of instruction sets include themselves, once for each of them
        folders.setdefault(folder(path), set()).update(
            folder(other) for other in included if folder(other) != folder(path)
        )
    assert "core/kernels/tile" in folders["core/kernels/forward"], "the pattern is wrong"
    # what is in core/kernels itself is the border (plain data), and the choice of a set
    cycles = {name for name in folders if name in reached(folders, [name])}
    assert not cycles, f"these folders include each other: {sorted(cycles)}"


def test_no_folder_of_the_core_knows_what_it_must_not():
    graph = core_includes()

    def all_of(place):
        return reached(graph, [path for path in graph if path.startswith(place + "/")])

    passes = ("core/kernels/kernels.h", "core/kernels/forward/", "core/kernels/backward/")
    assert not [path for path in all_of("core/kernels/tile") if path.startswith(passes)]
    forward = all_of("core/kernels/forward")
    assert not [path for path in forward if path.startswith("core/kernels/backward/")]
    assert not [path for path in all_of("core/plan") if path.startswith("core/kernels/")]


def test_files_are_short():
    sources = files("*.h", "*.cc", "*.py", "*.cmake", "*CMakeLists.txt", "dev", "tools/*.sh")
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sources
        if (lines := path.read_text().count("\n")) > LIMIT
    }
    assert not long, f"more than {LIMIT} lines: split them by subject"


def test_every_source_says_its_licence():
    sources = files("*.h", "*.cc", "*.py", "*.cmake", "*CMakeLists.txt", "*.sh", "dev")
    line = "SPDX-License-Identifier: Apache-2.0"
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in sources
        if not any(line in text for text in path.read_text().splitlines()[:2])
    ]
    assert not silent, f"the first line is: {line}"
