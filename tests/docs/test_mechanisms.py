# SPDX-License-Identifier: Apache-2.0
"""docs/mechanisms.md: its lines of Python give what the papers' formulas give in plain PyTorch,
gradients included, and its lines of
C++ the same again; its pictures are those of its lines."""

import os
import re
import struct
import subprocess
import sys

import pytest
import torch
from PIL import Image
from tree import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from mechanisms import page
from mechanisms.inputs import Size
from mechanisms.pictures import drawing
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
    view = regard::TensorView::bhsd(bytes.data(), static_cast<regard::DType>(head[0]), head[1],
                                    head[2], head[3], head[4]);
  }
  std::vector<std::int64_t> ints() const {
    const auto* data = reinterpret_cast<const std::int64_t*>(bytes.data());
    return {data, data + bytes.size() / sizeof(std::int64_t)};
  }
  std::vector<char> bytes;
  regard::TensorView view;
};

struct Result {  // a tensor of the shape (batch, heads, rows, dim), written to a file
  Result(std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t dim)
      : values(static_cast<std::size_t>(batch * heads * rows * dim)),
        view(regard::MutableTensorView::bhsd(values.data(), regard::DType::kFloat32, batch, heads,
                                             rows, dim)) {}
  explicit Result(const regard::Shape& s) : Result(s[0], s[1], s[2], s[3]) {}
  void write(const std::string& path) const {
    const auto bytes = static_cast<std::streamsize>(4 * values.size());
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()), bytes);
  }
  std::vector<float> values;
  regard::MutableTensorView view;
};

bool run(const std::string& name, const Tensor& q, const Tensor& k, const Tensor& v,
         const Tensor& d_out, const regard::Options& options) {
  const auto& s = q.view.shape;
  Result out(s[0], s[1], s[2], v.view.shape[3]);
  Result maximum(s[0], s[1], s[2], 1), log_sum(s[0], s[1], s[2], 1);
  Result dq(s), dk(k.view.shape), dv(v.view.shape);
  regard::Status status = regard::forward({q.view, k.view, v.view}, options,
                                          {out.view, maximum.view, log_sum.view, {}});
  if (status.ok()) {
    const auto read = [](const Result& result) { return regard::as_const(result.view); };
    status = regard::backward(
        {q.view, k.view, v.view, read(out), read(maximum), read(log_sum), d_out.view, {}}, options,
        {dq.view, dk.view, dv.view, {}});
  }
  if (!status.ok()) std::cerr << name << ": " << status.message() << "\\n";
  out.write(name + ".out"), dq.write(name + ".dq"), dk.write(name + ".dk"), dv.write(name + ".dv");
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


def test_speeds():
    text = page.PAGE.read_text()
    for name in ENTRIES:
        speeds = re.search(rf"<!-- {name} -->(.*?)<!-- end -->", text)
        assert speeds and re.match(r"\*\*[\d.]+x / [\d.]+x\*\*", speeds[1]), (
            f"{name}: run ./dev bench mechanisms --readme"
        )


def _levels_apart(a, b):
    """The mean over pixels and colours, of 255."""
    a, b = (
        torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8).float()
        for image in (a, b)
    )
    return (a - b).abs().mean().item()


def test_pictures_show_the_lines():
    assert {path.stem for path in page.PICTURES.glob("*.png")} == set(ENTRIES)
    for name, entry in ENTRIES.items():
        with Image.open(page.PICTURES / f"{name}.png") as saved:
            apart = _levels_apart(saved, drawing(entry))  # what is saved has 64 colours
        assert apart < 3, f"{name}: run python benchmarks/mechanisms/pictures.py"
    assert _levels_apart(drawing(ENTRIES["window"]), drawing(ENTRIES["dilated"])) > 10


def test_linked_files_exist():
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.PAGE.read_text())
    missing = [
        target
        for target in targets
        if "://" not in target and not (page.PAGE.parent / target).exists()
    ]
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
        record = (
            x.regard.t5_bias(x.table, x.n, x.n)
            if name == "t5_bias"
            else x.regard.swin_bias(x.table, x.height, x.width)
        )
        names |= dict(
            zip(("table", "query_code", "key_code", "buckets"), record.tensors, strict=True)
        ) | {"shift": record.ints[-1]}
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
    path.write_bytes(
        struct.pack("5q", dtype, *tensor.shape) + tensor.contiguous().numpy().tobytes()
    )


def block(name, folder):
    """A function that reads what the line of C++ names, runs it, and writes its result."""
    lines = []
    here = problem(name)
    d_out = here.d_out.transpose(0, 1)[None] if name == "documents" else here.d_out
    for argument, value in (cpp_inputs(name, here.x) | {"d_out": d_out}).items():
        if argument not in ("q", "k", "v", "d_out") and not re.search(
            rf"\b{argument}\b", ENTRIES[name].cpp
        ):
            continue
        if argument in ("apply", "derive"):
            lines.append(f"const auto {argument} = regard_bench_{argument};")
        elif isinstance(value, torch.Tensor):
            whole = argument in ("tokens", "cu", "lengths", "parents")
            dump(
                folder / f"{name}.{argument}", cpp_view(argument, value.long() if whole else value)
            )
            tensor = f'Tensor("{name}.{argument}")'
            if argument in ("q", "k", "v", "d_out"):
                lines.append(f"const {tensor.replace('Tensor', f'Tensor {argument}')};")
            elif whole:
                lines.append(f"const auto {argument} = {tensor}.ints();")
            else:
                lines.append(
                    f"const {tensor.replace('Tensor', f'Tensor {argument}_')}; const auto"
                    f" {argument} = {argument}_.view;"
                )
        else:
            lines.append(
                f"const {'double' if isinstance(value, float) else 'std::int64_t'} {argument} ="
                f" {value};"
            )
    lines = [
        f"bool {name}() {{",
        *lines,
        "regard::Options options;",
        ENTRIES[name].cpp,
        f'return run("{name}", q, k, v, d_out, options);',
    ]
    return "\n  ".join(lines) + "\n}\n"


@pytest.fixture(scope="module")
def cpp_results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mechanisms")
    source, binary, built = folder / "lines.cc", folder / "lines", ROOT / "build/release"
    calls = " & ".join(f"{name}()" for name in ENTRIES)
    source.write_text(
        PROGRAM
        + "".join(block(name, folder) for name in ENTRIES)
        + f"int main() {{ return {calls} ? 0 : 1; }}\n"
    )
    flags = [
        "-std=c++20",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        ROOT / "include",
        "-Wl,-rpath," + str(built / "benchmarks"),
    ]
    libraries = [
        "-L",
        built / "src/core",
        "-L",
        built / "benchmarks",
        "-lregard",
        "-lregard_bench_function",
        "-lhwy_contrib",
        "-lhwy",
        "-pthread",
    ]
    for command in (["c++", *flags, source, "-o", binary, *libraries], [binary]):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return folder


def learned_before(name, x, found):
    """Gradients of what the page's line of Python takes, from those of q and k that C++ was
    handed."""
    if name == "luong_general":
        found["q"] = found["q"] @ x.w.t()
    if name == "luong_concat":
        half = x.q.shape[-1]
        found["q"], found["k"] = found["q"] @ x.w[:, :half], found["k"] @ x.w[:, half:]
    if name == "luong_location":
        found["w"] = found.pop("k").sum((0, 1))
    return found


@pytest.mark.parametrize("name", ENTRIES)
def test_cpp_line(name, cpp_results):
    here = problem(name)
    x = cpp_inputs(name, here.x)
    cpp = {a: x[a] for a in "qkv"}

    def read(kind, like):
        values = torch.frombuffer(
            bytearray((cpp_results / f"{name}.{kind}").read_bytes()), dtype=torch.float32
        )
        values = values.reshape(like.shape)
        return values[0].transpose(0, 1) if name == "documents" else values

    expected = here.forward("ours")
    out = expected.transpose(0, 1)[None] if name == "documents" else expected
    torch.testing.assert_close(read("out", out), expected, rtol=0, atol=2e-6)
    found = learned_before(name, here.x, {a: read(f"d{a}", like) for a, like in cpp.items()})
    exact = dict(zip(here.names, here.step("ours"), strict=True))
    for a, gradient in found.items():
        largest = exact[a].abs().max().item()
        torch.testing.assert_close(
            gradient, exact[a], rtol=0, atol=1e-5 * largest, msg=lambda text, a=a: f"d{a}: {text}"
        )
