# SPDX-License-Identifier: Apache-2.0
"""Keys and values of a sequence in pages."""

import torch


def check_pages(numbers, count):
    """Whether these are numbers of `count` pages."""
    if numbers.numel():
        least, most = (int(x) for x in torch.aminmax(numbers))
        if least < 0 or most >= count:
            raise ValueError(
                f"block_table: pages from {least} to {most}; expected 0 to {count - 1}, the pages"
                " that there are"
            )


def rows_of_pages(pages, table, length):
    """The first `length` rows, (length, heads, dim), of the sequence whose pages `table` names;
    pages: (num_blocks, page_size, heads, dim)."""
    count, size = pages.shape[:2]
    needed = -(-length // size)
    if needed > table.shape[0]:
        raise ValueError(
            f"block_table: {table.shape[0]} pages of {size} keys for a sequence, which has {length}"
        )
    chosen = table[:needed].long()
    check_pages(chosen, count)
    return pages[chosen].flatten(0, 1)[:length]
