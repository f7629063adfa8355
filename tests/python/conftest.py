# SPDX-License-Identifier: Apache-2.0
"""Every test starts from the same random state and leaves Regard disabled and the number of
threads as it was."""

import pytest
import regard
import torch


@pytest.fixture(autouse=True)
def _clean():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    regard.disable()
    torch.set_num_threads(threads)
