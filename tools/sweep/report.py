# SPDX-License-Identifier: Apache-2.0
"""The sweep's reports as lines, and as the table of docs/transformers.md."""

import collections
import datetime
import importlib.metadata
import platform
import re

BEGIN, END = "<!-- sweep: begin -->", "<!-- sweep: end -->"
WORDS = {
    "right": "Regard",
    "part": "Regard, in part",
    "none": "no effect",
    "refused": "refused",
    "wrong": "WRONG",
    "unbuilt": "not tried",
    "waiting": "not run yet",
}


def waiting(model_type):
    """For an architecture that no run has reached."""
    return {
        "model_type": model_type, "architecture": "", "result": "waiting", "checked": [],
        "said": "", "calls": 0, "unsure": 0, "worst": 0.0, "seconds": 0.0,
    }  # fmt: skip


def line(report):
    """For the terminal."""
    text = (
        f"{report['model_type']:28} {report['architecture']:40} {report['result']:8}"
        f" {report['worst']:.0e} {report['calls']:4} calls {report['unsure']} unsure "
        f" {', '.join(report['checked'])}  {report['said']}"
    )
    return text.rstrip()


def summary(reports):
    counts = collections.Counter(each["result"] for each in reports)
    parts = [f"{counts[name]} {WORDS[name]}" for name in WORDS if counts[name]]
    return f"{len(reports)} model types: {', '.join(parts)}"


def write(reports, path):
    version = importlib.metadata.version
    versions = f"transformers {version('transformers')}, torch {version('torch')}"
    rows = [
        f"{summary(reports)}. {versions}, {platform.machine()},"
        f" {datetime.date.today():%Y-%m-%d}, by `./dev sweep transformers`.",
        "",
        "| model type | class tried | result | checked beside eager, or why not |",
        "|---|---|---|---|",
    ]
    rows += [_row(each) for each in reports if each["result"] != "waiting"]
    text = path.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    path.write_text(text[:begin] + "\n" + "\n".join(rows) + "\n" + text[end:])


def _row(report):
    said = _short(report["said"])
    checked = ", ".join(report["checked"])
    last = said or checked
    if checked and said and report["result"] != "wrong":
        last = f"{checked}. {said}"
    name = f"`{report['architecture']}`" if report["architecture"] else ""
    return f"| {report['model_type']} | {name} | {WORDS[report['result']]} | {last} |"


def _short(text):
    """What the message says beyond what the column says already."""
    text = re.sub(r"^\w+ cannot use attn_implementation=\"regard\": it ", "", text)
    text = re.sub(r" and does not go through transformers' attention interface", "", text)
    text = re.sub(r"^\w+: attn_implementation=\"regard\" has no effect on ", "own: ", text)
    text = re.sub(r", which compute attention themselves; the rest goes through Regard", "", text)
    return re.sub(r"\s+", " ", text.replace("|", "\\|"))[:220]
