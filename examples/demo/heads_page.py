# SPDX-License-Identifier: Apache-2.0
"""All heads on one web page that needs nothing but itself."""

import base64
import json
from pathlib import Path

import numpy as np
from heads import Heads
from heads_picture import PAPER_TO_INK

_TEMPLATE = Path(__file__).with_name("heads_page.html")


def write(heads: Heads, path: Path) -> Path:
    layers, count = heads.weights.shape[:2]
    data = {
        "model": heads.model,
        "text": heads.text,
        "tokens": heads.tokens,
        "cutFrom": heads.cut_from,
        "layers": layers,
        "heads": count,
        "colours": PAPER_TO_INK,
        # float32, little-endian, (layers, heads, rows, columns): the page shows the exact values
        "weights": base64.b64encode(
            np.ascontiguousarray(heads.weights, dtype="<f4").tobytes()
        ).decode("ascii"),
    }
    # "<" written as an escape: no text of a user's can end the script that holds it.
    page = _TEMPLATE.read_text(encoding="utf-8").replace(
        "__DATA__", json.dumps(data).replace("<", "\\u003c")
    )
    path.write_text(page, encoding="utf-8")
    return path
