# SPDX-License-Identifier: Apache-2.0
"""DETR learns to find digits in scenes (digit_scenes.py), from nothing.

    ./dev build regard_cli
    ./dev run python benchmarks/models/detect_digits.py --work DIR [--minutes 60] [--threads 2]

Makes the scenes, trains or goes on (DIR/finder holds a training that any kill leaves whole), finds
the digits of the test scenes, counts AP with pycocotools, and draws the first scenes' boxes and
attention. Keeps what it counted as DIR/detect-MINUTES.json; with more minutes, it goes
on from there. With --report it writes docs/models.md from what there is instead."""

import argparse
import json
from pathlib import Path

import digit_scenes
from page import IMAGES, measured, table, write_section
from program import kept, regard

PICTURES = 3
MODEL = [
    *("--backbone", "small", "--queries", 12, "--dim", 128, "--heads", 8, "--norm", "pre"),
    *("--encoder-layers", 2, "--decoder-layers", 3, "--feed-forward", 256),
    *("--no-object-weight", 0.3),
]
TRAINING = [
    *("--batch", 32, "--learning-rate", 5e-4, "--warmup", 200, "--clip", 1.0),
    *("--epochs", 0, "--validate-every", 500, "--checkpoint-every", 100),
]


def train(folder, finder, minutes, threads):
    said = regard(
        *("train", "detect", "--data", folder / "images", "--annotations", folder / "train.json"),
        *("--valid-annotations", folder / "valid.json", "--out", finder, *MODEL, *TRAINING),
        *("--minutes", minutes, "--threads", threads, "--json"),
    )
    return json.loads(said)


def precision(folder, finder):
    """(AP50, AP) of the test scenes, counted by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(folder / "test.json")
    images = truth.loadImgs(truth.getImgIds())
    files = [folder / "images" / image["file_name"] for image in images]
    said = regard("detect", *files, "--model", finder, "--threshold", 0, "--json")
    results = [
        {
            "image_id": image["id"],
            "category_id": int(one["label"]),
            "bbox": one["box"],
            "score": one["score"],
        }
        for image, line in zip(images, said.splitlines(), strict=True)
        for one in json.loads(line)["objects"]
    ]
    judge = COCOeval(truth, truth.loadRes(results), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return float(judge.stats[1]), float(judge.stats[0])


def draw(folder, finder):
    """Boxes and attention of the first test scenes, beside docs/models.md."""
    shown = []
    for number in range(PICTURES):
        image = folder / "images" / f"test-{number:05}.png"
        boxes, maps = (IMAGES / f"detect-{kind}-{number + 1}.png" for kind in ("boxes", "maps"))
        flags = ["--threshold", 0.5, "--out", boxes, "--attention", maps]
        regard("detect", image, "--model", finder, *flags)
        shown.append(f"![Found](images/{boxes.name})")
        if maps.exists():
            shown.append(f"![Where the queries looked](images/{maps.name})")
    return shown


def report(work):
    results = [json.loads(path.read_text()) for path in work.glob("detect-*.json")]
    results.sort(key=lambda r: r["steps"])
    rows = [
        [
            f"{r['parameters'] / 1e6:.1f} M",
            r["steps"],
            f"{r['processor_seconds'] / 60:.0f}",
            f"{r['ap50']:.3f}",
            f"{r['ap']:.3f}",
        ]
        for r in results
    ]
    head = ["parameters", "steps of 32 scenes", "processor minutes", "AP50", "AP"]
    pictures = draw(work / "scenes", work / "finder")
    write_section("detect", [measured(results), table(head, rows), *pictures])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="write docs/models.md")
    options = parser.parse_args()
    if options.report:
        return report(options.work)
    scenes, finder = options.work / "scenes", options.work / "finder"
    digit_scenes.make(scenes)

    def make():
        said = train(scenes, finder, options.minutes, options.threads)
        ap50, ap = precision(scenes, finder)
        return {**said, "ap50": ap50, "ap": ap, "threads": options.threads}

    print(json.dumps(kept(options.work / f"detect-{options.minutes:g}.json", make)))
    return None


if __name__ == "__main__":
    main()
