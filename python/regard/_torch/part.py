# SPDX-License-Identifier: Apache-2.0
"""Where tensors stand in a longer attention."""

from .record import Record


class Part(Record):
    """What part= takes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "regard.part(query_begin={}, key_begin={}, len_q={}, len_k={})".format(
            *self.ints[2:]
        )


def part(query_begin: int = 0, key_begin: int = 0, *, len_q: int, len_k: int) -> Part:
    """The query tensor holds rows from query_begin on, key and value rows from key_begin on, of
    an attention of len_q queries and len_k keys.

    All that counts positions then counts those of the whole: masks are the whole's (its lengths,
    documents and tokens; boolean tensors of (batch, heads, len_q, len_k)), and so are ALiBi's
    distances, Gaussians' keys, dropout and functions. Tensors of other modifiers, and the bias,
    are the part's own slices.

        where = regard.part(0, a, len_q=n, len_k=n)
        regard.attention_state(q, k[:, :, a:b], v[:, :, a:b], mask=regard.causal(), part=where)
    """
    places = [int(x) for x in (query_begin, key_begin, len_q, len_k)]
    if min(places) < 0 or places != [query_begin, key_begin, len_q, len_k]:
        raise ValueError(
            f"part: query_begin {query_begin}, key_begin {key_begin}, len_q {len_q}, len_k {len_k};"
            " expected counts from 0"
        )
    return Part("part", places)
