# SPDX-License-Identifier: Apache-2.0
"""Options as text: what a person reads of a call in a compiled graph."""

import pytest
import regard
import torch
from regard._torch.record import KINDS, kinds


def test_a_call_of_a_compiled_graph_is_readable():
    q = torch.zeros(1, 2, 4, 8)
    seen = []

    def look(graph, _inputs):
        for node in graph.graph.nodes:
            if node.target is torch.ops.regard.attention.default:
                ints, floats = node.args[3], node.args[4]
                seen.append(regard.options_text(ints, floats))
        return graph.forward

    mask = regard.causal() & regard.window(3, 0)
    torch.compile(
        lambda: regard.attention(q, q, q, mask=mask, scale=0.5), backend=look, fullgraph=True
    )()
    assert seen == [
        "causal(has_offset=0, offset=0)\n"
        "window(left=3, right=0, has_offset=0, offset=0)\n"
        "and\nscale(scale=0.5)\n"
    ]


def test_tensors_are_shown_by_their_shape():
    record = regard.alibi(torch.ones(2))
    assert regard.options_text(record.ints) == "alibi(slopes=tensor 0)\n"
    text = regard.options_text(record.ints, record.floats, record.tensors)
    assert text == "alibi(slopes=tensor 0 (1, 2, 1, 1))\n"


@pytest.mark.parametrize("ints", [[99, 0], [2], [2, 4, 1]])
def test_what_is_no_encoding_is_shown_and_not_an_error(ints):
    assert "not known" in regard.options_text(ints) or "cut off" in regard.options_text(ints)


def test_kinds_come_from_the_table():
    assert KINDS["causal"] == 1 and KINDS["part"] == 50 and len(KINDS) >= 29
    assert list(kinds([*regard.causal().ints, *regard.window(1, 1).ints])) == [
        KINDS["causal"],
        KINDS["window"],
    ]
