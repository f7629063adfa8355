# SPDX-License-Identifier: Apache-2.0
"""Sphinx builds the site of `./dev docs`: the guides of this folder (Markdown), and the Python
package's reference from its docstrings. Doxygen adds the C++ reference (docs/Doxyfile)."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "Regard"
copyright = "The Regard authors"
version = release = re.search(
    r"project\(regard VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()
)[1]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Exact fused attention on CPUs, forward and backward",
    "page_width": "1100px",
    "fixed_sidebar": True,
}
html_static_path = []
exclude_patterns = ["images"]
myst_heading_anchors = 3
# The guides are also read in the repository: their links to its files are none of the site's.
suppress_warnings = ["myst.xref_missing", "myst.header"]
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"

ARGUMENT = re.compile(r"^([a-z_*]\w*(?:, [a-z_*]\w*)*): (.*)$")
QUOTED = re.compile(r"(``.*?``|`[^`]+`)")


def _escape(text):
    """Plain text as reStructuredText: what it would take for markup is escaped."""
    parts = QUOTED.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\*|])|(?<=\w)(_)(?=\W|$)", r"\\\g<0>", parts[i])
    for i in range(1, len(parts), 2):
        parts[i] = f"``{parts[i].strip('`')}``"
    return "".join(parts)


def _docstring(app, what, name, thing, options, lines):
    """Our docstrings are plain text: `argument: what it is` starts an argument's text, and what is
    indented is an example or a formula."""
    out, literal = [], False
    for line in lines:
        if line.startswith(("    ", "  ")) and line.strip():
            if not literal:
                out += ["", "::", ""]
                literal = True
            out.append("    " + line)
            continue
        if literal and line.strip():
            out.append("")
            literal = False
        argument = ARGUMENT.match(line)
        if argument:
            out += ["", f"**{_escape(argument[1])}**: {_escape(argument[2])}"]
        else:
            out.append(_escape(line))
    lines[:] = [*out, ""]


def setup(app):
    app.connect("autodoc-process-docstring", _docstring)
