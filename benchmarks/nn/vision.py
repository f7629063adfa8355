# SPDX-License-Identifier: Apache-2.0
"""ViT-B/16 at 384 pixels of regard::nn beside transformers' with sdpa: same weights, batch and
threads, one process each, taking turns.

    ./dev build vision_bench
    ./dev run python benchmarks/nn/vision.py [--rounds 5] [--threads 2] [--batch 2] [--layers 12]

`forward` is an evaluation without gradients, `step` is zero_grad, loss, backward and AdamW's
update, fused on both sides. The figure is the median over rounds of the two sides' ratio; losses in
evaluation are compared, so that both do the same work."""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from train_steps import Process

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/benchmarks/nn/vision_bench"


def serve(folder, batch):
    """transformers' side: answers like vision_bench."""
    from transformers import ViTForImageClassification, logging

    logging.set_verbosity_error()
    model = ViTForImageClassification.from_pretrained(folder, attn_implementation="sdpa")
    batch = load_file(batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def loss():
        logits = model(pixel_values=batch["pixels"]).logits
        return torch.nn.functional.cross_entropy(logits, batch["labels"])

    for line in sys.stdin:
        training = line.strip() == "step"
        model.train(training)
        begin = time.perf_counter()
        with torch.set_grad_enabled(training):
            if training:
                optimiser.zero_grad()
            value = loss()
            if training:
                value.backward()
                optimiser.step()
        print(1000 * (time.perf_counter() - begin), value.item(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        return serve(*options.serve)
    from transformers import ViTConfig, ViTForImageClassification

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = ViTConfig(image_size=384, num_labels=1000, num_hidden_layers=options.layers)
        ViTForImageClassification(config).save_pretrained(f"{folder}/model")
        batch = {
            "pixels": torch.randn(options.batch, 3, 384, 384),
            "labels": torch.randint(0, 1000, (options.batch,)),
        }
        save_file(batch, f"{folder}/batch.safetensors")
        files = [f"{folder}/model", f"{folder}/batch.safetensors"]
        threads = str(options.threads)
        other = [sys.executable, __file__, "--serve", *files, "--threads", threads]
        sides = Process([PROGRAM, *files, threads]), Process(other)
        for kind in ("forward", "step"):
            first, second = (side.ask(kind)[1] for side in sides)  # also warms both up
            if kind == "forward" and abs(first - second) > 1e-3 * abs(second):
                raise SystemExit(f"losses {first} and {second} differ")
            taken = [[side.ask(kind)[0] for side in sides] for _ in range(options.rounds)]
            ours, theirs = (statistics.median(x) for x in zip(*taken, strict=True))
            ratio = statistics.median(t / o for o, t in taken)
            print(
                f"vit-b/16 384 {kind:8} ours {ours:7.0f} ms   transformers {theirs:7.0f} ms   "
                f"{ratio:5.2f}x   (aim 1.1x)",
                flush=True,
            )
        for side in sides:
            side.close()
    return None


if __name__ == "__main__":
    main()
