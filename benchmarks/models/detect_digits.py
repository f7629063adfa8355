# SPDX-License-Identifier: Apache-2.0
"""DETR learns to find digits in scenes (digit_scenes.py), from nothing.

    ./dev build regard_cli
    ./dev run python benchmarks/models/detect_digits.py --work DIR [--minutes 60] [--threads 2]

Makes the scenes, trains or goes on (DIR/finder holds a training that any kill leaves whole), finds
the digits of the test scenes, counts AP with pycocotools, and draws the first scenes' boxes and
attention. Prints a line of JSON and keeps it as DIR/digits.json; started again with more minutes,
it goes on from there."""

import argparse
import json
import os
from pathlib import Path

import digit_scenes
from program import regard

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


def draw(folder, finder, work):
    for number in range(PICTURES):
        image = folder / "images" / f"test-{number:05}.png"
        pictures = [
            *("--out", work / f"digits-boxes-{number + 1}.png"),
            *("--attention", work / f"digits-attention-{number + 1}.png"),
        ]
        print(regard("detect", image, "--model", finder, "--threshold", 0.5, *pictures))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    scenes, finder = options.work / "scenes", options.work / "finder"
    digit_scenes.make(scenes)
    said = train(scenes, finder, options.minutes, options.threads)
    ap50, ap = precision(scenes, finder)
    result = {
        "ap50": ap50,
        "ap": ap,
        "minutes": said["seconds"] / 60,
        "steps": said["steps"],
        "parameters": said["parameters"],
        "threads": options.threads,
        "load": os.getloadavg()[2],
    }
    (options.work / "digits.json").write_text(json.dumps(result, indent=1))
    draw(scenes, finder, options.work)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
