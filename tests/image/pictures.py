# SPDX-License-Identifier: Apache-2.0
"""Real photographs, and the program that reads pictures."""

import json
import subprocess
from pathlib import Path

import numpy as np
import sklearn
from PIL import Image, ImageOps
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ROOT / "build/release/tests/image"
PHOTOGRAPHS = sorted((Path(sklearn.__file__).parent / "datasets/images").glob("*.jpg"))


def try_to_read(*paths):
    """What the program says of files that it refuses."""
    done = subprocess.run(
        [PROGRAMS / "read_images", *paths],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, f"it ended with {done.returncode}: {done.stderr}"
    return done.stdout


def read(path):
    refused = try_to_read(path)
    assert not refused, refused
    return np.array(Image.open(f"{path}.read.ppm"))


def process(folder, jobs):
    """What processors' folders make of pictures: for each job, (folder, paths), either a dict of
    values, mask and size, or an error's text."""
    (folder / "jobs.json").write_text(json.dumps([[str(a), list(map(str, b))] for a, b in jobs]))
    out = folder / "out.safetensors"
    subprocess.run([PROGRAMS / "process_images", folder / "jobs.json", out], check=True)
    with safe_open(out, "np") as file:
        errors = file.metadata() or {}
        return [
            errors.get(f"error.{i}")
            or {name: file.get_tensor(f"{name}.{i}") for name in ("values", "mask", "size")}
            for i in range(len(jobs))
        ]


def photograph(width, height, which=0):
    """A part of a photograph, of that size."""
    whole = Image.open(PHOTOGRAPHS[which]).convert("RGB")
    return whole.crop((60, 40, 60 + width, 40 + height))


def expected(path):
    """The pixels that transformers' pipelines hand to a processor."""
    return np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
