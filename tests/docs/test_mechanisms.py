"""docs/mechanisms.md: its lines of Python give what the papers' formulas give in plain PyTorch, gradients included, and its lines of
C++ the same again; its pictures exist."""

import os
import re
import struct
import subprocess
import sys

import pytest
import torch
from tree import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from mechanisms import page
from mechanisms.inputs import Size
from mechanisms.problem import Problem
from mechanisms.rivals import RIVALS

ENTRIES = page.entries()
SIZE = Size(96, heads=4, near=10, block=8, window=(8, 8))

PROGRAM = """
#include <cmath>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "regard/attention.h"

extern "C" void regard_bench_apply(const regard::FunctionTile* tile, void* context);
extern "C" void regard_bench_derive(const regard::FunctionTile* tile, void* context);

struct Tensor {  // a file: dtype and shape as five int64, then the elements
  explicit Tensor(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::int64_t head[5];
    file.read(reinterpret_cast<char*>(head), sizeof(head));
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    view = regard::TensorView::bhsd(bytes.data(), static_cast<regard::DType>(head[0]), head[1], head[2], head[3], head[4]);
  }
  std::vector<std::int64_t> ints() const {
    const auto* data = reinterpret_cast<const std::int64_t*>(bytes.data());
    return {data, data + bytes.size() / sizeof(std::int64_t)};
  }
  std::vector<char> bytes;
  regard::TensorView view;
};

bool run(const char* name, const Tensor& q, const Tensor& k, const Tensor& v, const regard::Options& options) {
  const auto& s = q.view.shape;
  std::vector<float> result(static_cast<std::size_t>(s[0] * s[1] * s[2] * v.view.shape[3]));
  regard::Outputs outputs;
  outputs.out = regard::MutableTensorView::bhsd(result.data(), regard::DType::kFloat32, s[0], s[1], s[2], v.view.shape[3]);
  const regard::Status status = regard::forward({q.view, k.view, v.view}, options, outputs);
  if (!status.ok()) std::cerr << name << ": " << status.message() << "\\n";
  std::ofstream(std::string(name) + ".out", std::ios::binary).write(reinterpret_cast<char*>(result.data()), 4 * result.size());
  return status.ok();
}
"""


def problem(name):
    return Problem(ENTRIES[name], SIZE)


def test_every_mechanism_is_compared():
    assert list(ENTRIES) and set(ENTRIES) == set(RIVALS)


def test_a_wrong_line_is_found():
    wrong = page.Entry("window", "regard.attention(q, k, v, mask=regard.window(left, 1))", "")
    with pytest.raises(AssertionError, match="window, forward, out: differs"):
        Problem(wrong, SIZE).difference("forward")


@pytest.mark.parametrize("name", ENTRIES)
def test_python_line(name):
    here = problem(name)
    for direction in ("forward", "step"):
        here.difference(direction)


def test_pictures_and_speeds():
    assert {path.stem for path in page.PICTURES.glob("*.png")} == set(ENTRIES)
    text = page.PAGE.read_text()
    for name in ENTRIES:
        speeds = re.search(rf"<!-- {name} -->(.*?)<!-- end -->", text)
        assert speeds and re.match(r"\*\*[\d.]+x / [\d.]+x\*\*", speeds[1]), f"{name}: run ./dev bench mechanisms --readme"


def test_linked_files_exist():
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.PAGE.read_text())
    missing = [target for target in targets if "://" not in target and not (page.PAGE.parent / target).exists()]
    assert targets and not missing


# --- the lines of C++


def cpp_inputs(name, x):
    """What the page says to hand in for q, k and v, and the names that exist in C++ alone."""
    names = {a: b for a, b in vars(x).items() if a != "regard"}
    if name == "luong_general":
        names["q"] = x.q @ x.w
    if name == "luong_concat":
        half = x.q.shape[-1]
        names |= {"q": x.q @ x.w[:, :half].t(), "k": x.k @ x.w[:, half:].t()}
    if name == "luong_location":
        names["k"] = x.w.expand(1, x.q.shape[1], -1, -1)
    if name == "documents":
        names |= {a: names[a].transpose(0, 1)[None] for a in "qkv"}
    if name in ("t5_bias", "swin_bias"):
        record = x.regard.t5_bias(x.table, x.n, x.n) if name == "t5_bias" else x.regard.swin_bias(x.table, x.height, x.width)
        names |= dict(zip(("table", "query_code", "key_code", "buckets"), record.tensors, strict=True)) | {"shift": record.ints[-1]}
    return names


def cpp_view(name, tensor):
    """(batch, heads, seq, dim), as the headers describe the argument."""
    if name in ("t", "slopes"):
        return tensor.reshape(1, -1, 1, 1)
    if name == "logits":
        return tensor[None, :, None, :]
    if name == "centre":
        return tensor[..., None]
    return tensor.reshape((1,) * (4 - tensor.dim()) + tuple(tensor.shape))


def dump(path, tensor):
    dtype = {torch.float32: 0, torch.bool: 4, torch.int32: 5, torch.int64: 6}[tensor.dtype]
    path.write_bytes(struct.pack("5q", dtype, *tensor.shape) + tensor.contiguous().numpy().tobytes())


def block(name, folder):
    """A function that reads what the line of C++ names, runs it, and writes its result."""
    lines = []
    for argument, value in cpp_inputs(name, problem(name).x).items():
        if argument not in "qkv" and not re.search(rf"\b{argument}\b", ENTRIES[name].cpp):
            continue
        if argument in ("apply", "derive"):
            lines.append(f"const auto {argument} = regard_bench_{argument};")
        elif isinstance(value, torch.Tensor):
            whole = argument in ("tokens", "cu", "lengths", "parents")
            dump(folder / f"{name}.{argument}", cpp_view(argument, value.long() if whole else value))
            tensor = f'Tensor("{name}.{argument}")'
            if argument in "qkv":
                lines.append(f"const {tensor.replace('Tensor', f'Tensor {argument}')};")
            elif whole:
                lines.append(f"const auto {argument} = {tensor}.ints();")
            else:
                lines.append(f"const {tensor.replace('Tensor', f'Tensor {argument}_')}; const auto {argument} = {argument}_.view;")
        else:
            lines.append(f"const {'double' if isinstance(value, float) else 'std::int64_t'} {argument} = {value};")
    lines = [f"bool {name}() {{", *lines, "regard::Options options;", ENTRIES[name].cpp, f'return run("{name}", q, k, v, options);']
    return "\n  ".join(lines) + "\n}\n"


@pytest.fixture(scope="module")
def cpp_results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mechanisms")
    source, binary, built = folder / "lines.cc", folder / "lines", ROOT / "build/release"
    calls = " & ".join(f"{name}()" for name in ENTRIES)
    source.write_text(PROGRAM + "".join(block(name, folder) for name in ENTRIES) + f"int main() {{ return {calls} ? 0 : 1; }}\n")
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", "-Wl,-rpath," + str(built / "benchmarks")]
    libraries = ["-L", built / "src/core", "-L", built / "benchmarks", "-lregard", "-lregard_bench_function", "-lhwy", "-pthread"]
    for command in (["c++", *flags, source, "-o", binary, *libraries], [binary]):
        done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return folder


@pytest.mark.parametrize("name", ENTRIES)
def test_cpp_line(name, cpp_results):
    expected = problem(name).forward("ours")
    if name == "documents":
        expected = expected.transpose(0, 1)
    result = torch.frombuffer(bytearray((cpp_results / f"{name}.out").read_bytes()), dtype=torch.float32)
    torch.testing.assert_close(result.reshape(expected.shape), expected, rtol=0, atol=2e-6)
