#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/mechanisms: one head's weights for every line of docs/mechanisms.md,
computed by that line itself.

./dev run python benchmarks/mechanisms/pictures.py [--sheet FILE]     --sheet: also all of them
                                                                      on one sheet, to look at
"""

import argparse
import math
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image

from mechanisms.inputs import Size, inputs
from mechanisms.page import PICTURES, Entry, entries

_PIXELS = 160
_N = 80
_HEADS = {"alibi": 3, "t5_bias": 1}  # where the first head shows less
# What is hidden is paper; what is seen goes from the first of these colours to the last.
_PAPER = (247, 244, 236)
_INKS = ((216, 228, 236), (136, 180, 210), (62, 118, 172), (14, 38, 92))


def _smooth(shape: tuple[int, ...]) -> torch.Tensor:
    """Rows that drift along the sequence, counted from its end: near rows are alike, and so are
    some distant ones."""
    n, dim = shape[-2:]
    waves = torch.Generator().manual_seed(3)
    frequency = (
        2
        * math.pi
        * torch.tensor([0.6, 1.1, 1.7, 2.3, 3.1, 4.2])[torch.randint(6, (dim,), generator=waves)]
        / _N
    )
    phase = 2 * math.pi * torch.rand(dim, generator=waves)
    place = torch.arange(-n, 0)[:, None]
    return 0.95 * torch.sin(place * frequency + phase) + 0.3 * torch.randn(shape)


def _picture(entry: Entry) -> torch.Tensor:
    """(len_q, len_k): a line gives the weights themselves where the values are the unit vectors."""
    torch.manual_seed(5)
    x = inputs(entry.name, Size(_N, dim=48, near=12, block=4, window=(8, 10), rows=_smooth))
    packed = x.v.dim() == 3
    unit = torch.eye(x.v.shape[0 if packed else -2])
    x = SimpleNamespace(
        **(vars(x) | {"v": (unit[:, None] if packed else unit).expand(*x.v.shape[:-1], -1)})
    )
    weights = eval(entry.python, vars(x))
    head = _HEADS.get(entry.name, 0)
    return weights[:, head] if packed else weights[0, head]


def drawing(entry: Entry) -> Image.Image:
    weights = _picture(entry)
    strength = (weights / weights.flatten().quantile(0.995)).clamp(0, 1).sqrt() * (len(_INKS) - 1)
    inks = torch.tensor(_INKS, dtype=torch.float32)
    lower = strength.floor().long().clamp(max=len(_INKS) - 2)
    part = (strength - lower)[..., None]
    colours = inks[lower] * (1 - part) + inks[lower + 1] * part
    colours[weights == 0] = torch.tensor(_PAPER, dtype=torch.float32)
    image = Image.fromarray(colours.round().byte().numpy())
    scale = _PIXELS // weights.shape[1]
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn = [(name, drawing(entry)) for name, entry in entries().items()]
    for name, image in drawn:
        image.quantize(64).save(PICTURES / f"{name}.png", optimize=True)
    if arguments.sheet:
        columns, cell = 7, _PIXELS + 12
        sheet = Image.new(
            "RGB", (columns * cell, -(-len(drawn) // columns) * cell), (120, 120, 120)
        )
        for at, (_, image) in enumerate(drawn):
            sheet.paste(image, (at % columns * cell + 6, at // columns * cell + 6))
        sheet.save(arguments.sheet)


if __name__ == "__main__":
    main()
