# SPDX-License-Identifier: Apache-2.0
"""Every architecture of the installed transformers, tiny and random, through Regard and beside
eager. `./dev sweep transformers` runs them all; test_transformers_sweep.py a sample."""
