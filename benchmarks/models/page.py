# SPDX-License-Identifier: Apache-2.0
"""docs/models.md: what stands between its markers is written from results."""

import re

from program import ROOT

IMAGES = ROOT / "docs/images"
_PAGE = ROOT / "docs/models.md"


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def measured(results):
    """Where and when results were measured: what kept() noted down."""
    days = sorted({result["date"] for result in results})
    machines = sorted({result["processor"] for result in results})
    return f"Measured on {', '.join(machines)}, shared with other work, {' to '.join(days)}."


def write_section(name, parts):
    """Replaces what stands between the markers `name: begin` and `name: end`."""
    body = "\n\n".join(parts)
    pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
    text, count = re.subn(
        pattern, lambda m: f"{m[1]}{body}\n{m[2]}", _PAGE.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{_PAGE} has no markers for {name}")
    _PAGE.write_text(text)
