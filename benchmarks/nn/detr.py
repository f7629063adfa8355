# SPDX-License-Identifier: Apache-2.0
"""DETR's forward pass beside transformers' with the same random weights: ResNet-50, 800 x 1,066
pixels, one image, one process each, taking turns.

    ./dev build detr_bench
    ./dev run python benchmarks/nn/detr.py [--rounds 9] [--threads 2]

The figure is the median over rounds of the two sides' ratio. Attention's part, 6 encoder and 6
decoder layers at these lengths, is measured alone, beside PyTorch's."""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import regard
import torch
from safetensors.torch import load_file, save_file
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/benchmarks/nn/detr_bench"
HEIGHT, WIDTH = 800, 1066


class Ours:
    def __init__(self, folder, pixels, threads):
        save_file({"pixels": pixels}, folder / "pixels.safetensors")
        command = [PROGRAM, folder, folder / "pixels.safetensors", folder / "out.safetensors"]
        self.process = subprocess.Popen(
            [*command, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def milliseconds(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def clocked(function):
    begin = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - begin)


def attention_calls(places, queries, dim=256, heads=8):
    """What a pass asks of attention: (query, keys) of each kind of layer, and how often."""

    def made(length):
        return torch.randn(1, heads, length, dim // heads)

    kinds = [(places, places), (queries, queries), (queries, places)]
    return [(made(q), made(k), made(k), 6) for q, k in kinds]


def run_all(attention, calls):
    for query, key, value, count in calls:
        for _ in range(count):
            attention(query, key, value)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = DetrConfig(
        num_labels=91,
        use_timm_backbone=False,
        backbone_config=ResNetConfig(out_features=["stage4"]),
    )
    model = DetrForObjectDetection(config).eval()
    pixels = torch.randn(1, 3, HEIGHT, WIDTH)
    calls = attention_calls(25 * 34, config.num_queries)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        model.save_pretrained(folder)
        ours = Ours(folder, pixels, options.threads)
        theirs = model(pixel_values=pixels)
        ours.milliseconds()
        written = load_file(folder / "out.safetensors")
        apart = (written["logits"] - theirs.logits).abs().max() / theirs.logits.abs().max()
        assert apart < 1e-4, f"logits are {apart:.1e} of the range apart"
        rows = []
        for _ in range(options.rounds):
            a = ours.milliseconds()
            b = clocked(lambda: model(pixel_values=pixels))
            c = clocked(lambda: run_all(regard.attention, calls))
            d = clocked(lambda: run_all(torch.nn.functional.scaled_dot_product_attention, calls))
            rows.append((a, b, c, d))
        ours.process.stdin.close()
        ours.process.wait()
    a, b, c, d = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(b / a for a, b, _, _ in rows)
    part = statistics.median(d / c for _, _, c, d in rows)
    print(f"DETR-R50 {HEIGHT} x {WIDTH}, {options.threads} threads, {options.rounds} rounds")
    print(f"forward    regard {a:7.0f} ms, transformers {b:7.0f} ms, {ratio:.2f}x")
    print(f"attention  regard {c:7.1f} ms, PyTorch      {d:7.1f} ms, {part:.2f}x")


if __name__ == "__main__":
    main()
