# SPDX-License-Identifier: Apache-2.0
"""What regard.transformers is made of."""
