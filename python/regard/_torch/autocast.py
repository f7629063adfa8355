# SPDX-License-Identifier: Apache-2.0
"""Under autocast query, key and value run in the region's dtype (float64 excepted), as those of
PyTorch's own attention do."""

import torch


def lowered(query, key, value):
    if not torch.is_autocast_enabled("cpu"):
        return query, key, value
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(
        x.to(dtype) if x.is_floating_point() and x.dtype is not torch.float64 else x
        for x in (query, key, value)
    )
