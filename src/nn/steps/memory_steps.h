// SPDX-License-Identifier: Apache-2.0
// A recurrent decoder asks a memory one query after the other. Autograd would make the gradients of
// all keys and values at every step, and add them up: the whole memory is then written three times
// a step. Here each step's backward makes the gradient of its query alone and leaves the rest
// behind; when the last is done, one pass of the engine over all queries makes the others.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "regard/nn/attention.h"
#include "regard/nn/memory.h"

namespace regard::nn {

// The memory with such a gathering between it and the steps, where gradients are recorded.
AttentionMemory with_steps(AttentionMemory memory);

// attention() of a query (batch, 1, len_q, dim) to a memory; options as attention() takes them.
// With one query in a memory that gathers, gradients take the way above. Masks may then depend on
// the query only through tensors with an axis of queries (around()), as all queries meet again in
// one call.
torch::Tensor attend(const torch::Tensor& query, const AttentionMemory& memory,
                     const AttentionOptions& options);

// x weight^T of x (batch, len_q, in), weight (out, in). With one query in a memory that gathers,
// the weight's gradient is made at the end as well; `name` tells the weights of a memory's steps
// apart.
torch::Tensor step_linear(const char* name, const torch::Tensor& x, const torch::Tensor& weight,
                          const AttentionMemory& memory);

}  // namespace regard::nn
