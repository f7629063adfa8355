# SPDX-License-Identifier: Apache-2.0
"""Doxygen's input filter (docs/Doxyfile): plain // comments become its own, and what is set apart
by indentation (formulas, tables, examples) stays as it is laid out.

A comment that follows code on its line belongs to that code. The comment at the top of a header is
about the file.
"""

import re
import sys
from pathlib import Path

COMMENT = re.compile(r"^(\s*)// ?(.*)$")
TRAILING = re.compile(r"^(.*\S)(\s+)// (.*)$")
ESCAPED = re.compile(r"([\\@<>&#\"])")


def block(lines, indent, first):
    """The lines of one comment; those indented by two or more become verbatim text."""
    out = [indent + ("/** \\file" if first else "/**")]
    verbatim = False
    while lines and not lines[-1].strip():
        lines.pop()
    for line in lines:
        deep = line.startswith("  ")
        if deep != verbatim and (line.strip() or verbatim):
            out.append("\\verbatim" if deep else "\\endverbatim")
            verbatim = deep
        out.append(line if verbatim else ESCAPED.sub(_escape, line))
    if verbatim:
        out.append("\\endverbatim")
    return [*out, f"{indent}*/"]


def _escape(match):
    return "\\" + match[1]


def main():
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    out, i, seen_code = [], 0, False
    while i < len(lines):
        comment = COMMENT.match(lines[i])
        if comment:
            indent, found = comment[1], []
            while i < len(lines) and (again := COMMENT.match(lines[i])) and again[1] == indent:
                if not again[2].startswith("SPDX-"):
                    found.append(again[2])
                i += 1
            out += block(found, indent, first=not seen_code)
            seen_code = True
            continue
        trailing = TRAILING.match(lines[i])
        if trailing and not lines[i].lstrip().startswith("#"):
            text = ESCAPED.sub(_escape, trailing[3])
            out.append(f"{trailing[1]}{trailing[2]}///< {text}")
            i += 1
            # A comment that goes on below its code, at the same column.
            column = len(trailing[1]) + len(trailing[2])
            while i < len(lines) and (again := COMMENT.match(lines[i])) and len(again[1]) == column:
                out.append(f"{again[1]}///< {ESCAPED.sub(_escape, again[2])}")
                i += 1
            continue
        out.append(lines[i])
        i += 1
    print("\n".join(out))


if __name__ == "__main__":
    main()
