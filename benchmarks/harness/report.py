# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for programs, Markdown for the README."""

import json
import re
from pathlib import Path

from harness.rows import Group, Row

_COLUMNS = ("case", "ours", "theirs", "faster", "GFLOP/s", "peak", "share", "goal", "reached", "")


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 1e-3:
        return f"{value * 1e6:.1f} us"
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


def _cells(row: Row) -> list[str]:
    giga = lambda x: "" if x is None else f"{x * 1e-9:.0f}"  # noqa: E731
    verdict = {True: "met", False: "NOT MET", None: ""}[row.met]
    return [
        row.case,
        _seconds(row.ours),
        _seconds(row.theirs),
        "" if row.faster is None else f"{row.faster:.2f}x",
        giga(row.rate),
        giga(row.peak),
        "" if row.share is None else f"{'~' if row.disturbed else ''}{row.share:.1%}",
        row.goal,
        row.reached,
        verdict,
    ]


def _table(header: list[str], lines: list[list[str]]) -> str:
    kept = [i for i in range(len(header)) if any(line[i] for line in lines)]
    widths = {i: max(len(header[i]), *(len(line[i]) for line in lines)) for i in kept}
    words = {i for i in kept if header[i] in ("case", "goal", "reached", "")}

    def write(cells: list[str]) -> str:
        return "  ".join(
            cells[i].ljust(widths[i]) if i in words else cells[i].rjust(widths[i]) for i in kept
        ).rstrip()

    return "\n".join(
        [write(header), write(["-" * widths.get(i, 0) for i in range(len(header))])]
        + [write(line) for line in lines]
    )


def text(group: Group) -> str:
    rows = group.rows if group.shown is None else group.shown
    parts = [
        f"== {group.name}: {group.about}",
        _table(list(_COLUMNS), [_cells(r) for r in rows]),
        *group.notes,
    ]
    if any(r.disturbed for r in rows):
        parts.append("~: others took processors away meanwhile. Measure again on a quiet machine.")
    return "\n".join(parts) + "\n"


def verdict(groups: list[Group]) -> str:
    judged = [r for g in groups for r in g.rows if r.met is not None]
    met = sum(r.met for r in judged)
    return f"Goals: {met} of {len(judged)} met, {len(judged) - met} not met."


def _matrix_product(machine: dict) -> str:
    shares = machine.get("matrix_product_shares", {})  # runs of before have none
    return " and ".join(
        f"{share:.0%} with {t} {'thread' if t == '1' else 'threads'}" for t, share in shares.items()
    )


def heading(machine: dict) -> str:
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in machine["peaks_gflops"].items())
    lines = [
        (
            f"{machine['processor']}, {machine['cores']} cores, target {machine['target']}; torch"
            f" {machine['torch']}; {machine['date']}; commit {machine['commit']}"
        ),
        (
            f"Peaks measured now, GFLOP/s: {peaks}. Shares below use the peak measured right beside"
            " each timing."
        ),
        (
            "For scale: a product of two large float32 matrices (torch.mm) reaches"
            f" {_matrix_product(machine)}."
        ),
    ]
    if machine["threads"] == 1:
        lines.append(
            "One thread: times are its processor's own, so that what others take away does not"
            " count."
        )
    if machine["load_average"] > 0.5:
        lines.append(
            f"Others are using this machine (load average {machine['load_average']:.1f}): figures"
            " will be noisy."
        )
    return "\n".join(lines) + "\n"


def write_json(path: Path, machine: dict, level: str, whole: bool, groups: list[Group]) -> None:
    """`whole`: whether every group was asked for."""
    document = {
        "machine": machine,
        "level": level,
        "whole": whole,
        "groups": [
            {
                "name": g.name,
                "about": g.about,
                "notes": g.notes,
                "rows": [r.as_json() for r in g.rows],
            }
            for g in groups
        ],
    }
    path.write_text(json.dumps(document, indent=1, default=str) + "\n")


# What asks for a level of measurement.
_FLAGS = {"quick": " --quick", "default": "", "full": " --full"}


# --- the README's table

_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def _markdown_line(row: dict) -> str:
    faster = "" if not row["times_faster"] else f"{row['times_faster']:.1f}x"
    share = "" if row["share"] is None else f"{row['share']:.0%}"
    ours, theirs = (
        _seconds(None if row[k] is None else row[k] / 1e3) for k in ("ours_ms", "theirs_ms")
    )
    return f"| {row['case']} | {ours} | {theirs} | {faster} | {share} |"


def _small_lines(rows: list[dict]) -> list[str]:
    """For each dtype: how the grid of short sequences came out, losses counted."""
    lines = []
    for dtype in dict.fromkeys(r["values"]["dtype"] for r in rows):
        found = sorted(r["values"]["ratio"] for r in rows if r["values"]["dtype"] == dtype)
        slower = sum(x < 1 for x in found)
        middle = found[len(found) // 2]
        lines.append(
            f"| {len(found)} short {dtype} cases, n 16 to 512 | | | median {middle:.1f}x, least"
            f" {found[0]:.2f}x, slower in {slower} | |"
        )
    return lines


def command(document: dict) -> str:
    """What a reader types to measure the same."""
    machine = document["machine"]
    names = [g["name"] for g in document["groups"]]
    parts = ["./dev bench", *([] if document["whole"] else names)]
    if machine["threads"] != machine["cores"]:
        parts.append(f"--threads {machine['threads']}")
    return " ".join(parts) + f"{_FLAGS[document['level']]} --readme"


def markdown(document: dict) -> str:
    """A short, honest table: every kind of case, wins and losses."""
    machine = document["machine"]
    busy = (
        f", while others used it (load average {machine['load_average']:.0f})"
        if machine["load_average"] > 0.5
        else ""
    )
    product = _matrix_product(machine)
    scale = f", of which torch.mm of large float32 matrices reached {product}" if product else ""
    multiplier = "matrix unit" if machine["target"] == "amx_bf16" else "bf16 dot product"
    lines = [
        (
            f"`{command(document)}`: {machine['processor']}, {machine['cores']} cores, target"
            f" `{machine['target']}`, PyTorch {machine['torch']}, {machine['date']}{busy}. 8 heads;"
            " times are medians of interleaved runs, the call from Python included (one thread:"
            f" its processor's time); the share is of the multiply-add (bf16: {multiplier}) peak"
            f" measured beside each run{scale}."
        ),
        "",
        "| case | Regard | PyTorch | faster | of peak |",
        "|---|--:|--:|--:|--:|",
    ]
    for group in document["groups"]:
        rows = group["rows"]
        if group["name"] == "small":
            lines += _small_lines(rows)
        elif group["name"] in ("forward", "backward", "bf16"):
            lines += [
                _markdown_line(r) for r in rows if r["values"]["threads"] == machine["threads"]
            ]
        elif group["name"] in ("threads", "windows"):
            lines += [_markdown_line(r) for r in rows if r["theirs_ms"] is not None]
    return "\n".join(lines)


def _between(path: Path, text_: str, begin: str, end: str, content: str) -> str:
    """The text with `content` between the two markers, which `path` must have."""
    if begin not in text_ or end not in text_[text_.index(begin) :]:
        raise SystemExit(f"{path}: expected {begin} and {end} around what was measured")
    return re.sub(
        re.escape(begin) + ".*?" + re.escape(end),
        lambda _: begin + content + end,
        text_,
        count=1,
        flags=re.S,
    )


def write_readme(readme: Path, document: dict) -> None:
    """Writes the table of the run's instruction set, and leaves the others as they were
    measured."""
    begin = f"<!-- measured, {document['machine']['target']}: begin -->"
    readme.write_text(
        _between(readme, readme.read_text(), begin, _END, f"\n{markdown(document)}\n")
    )


# --- docs/mechanisms.md


def write_mechanisms(page: Path, document: dict) -> None:
    """The speeds of each mechanism's row, and what they were measured on."""
    (group,) = (g for g in document["groups"] if g["name"] == "mechanisms")
    text_ = page.read_text()
    cells: dict[str, list[dict]] = {}
    for row in group["rows"]:
        cells.setdefault(row["values"]["mechanism"], []).append(row)
    for name, rows in cells.items():
        speeds = " / ".join(
            f"{r['values']['ratio']:.{1 if r['values']['ratio'] < 9.95 else 0}f}x" for r in rows
        )
        text_ = _between(
            page, text_, f"<!-- {name} -->", "<!-- end -->", f"**{speeds}**<br>{rows[0]['against']}"
        )
    machine = document["machine"]
    about = (
        f"Measured by `./dev bench mechanisms{_FLAGS[document['level']]} --readme`:"
        f" {machine['processor']}, {machine['threads']} threads, target `{machine['target']}`,"
        f" PyTorch {machine['torch']}, {machine['date']}, load average"
        f" {machine['load_average']:.0f} when it began. float32,"
        f" {group['notes'][0]}\n{group['notes'][1]} Ratios are medians of interleaved runs."
    )
    page.write_text(_between(page, text_, _BEGIN, _END, f"\n{about}\n"))
