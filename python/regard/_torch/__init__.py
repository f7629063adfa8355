# SPDX-License-Identifier: Apache-2.0
"""What stands between the public functions and the operators of src/torch_ops: how a call becomes
their arguments, its gradients, what compilers see. Nothing here is public."""
