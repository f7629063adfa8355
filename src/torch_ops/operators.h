// SPDX-License-Identifier: Apache-2.0
// The operators' functions, as library.cc registers them. Masks and modifiers arrive as the lists
// of regard/encoding.h.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "torch_ops/tensors.h"

namespace regard::torch_ops {

using Ints = std::vector<std::int64_t>;
using Floats = std::vector<double>;
using Tensors = std::vector<Tensor>;

// The shortest way to an output, without gradients and for the commonest options: no lists to carry
// across. `mask` is 0 for none, 1 for causal, 2 for causal with offset 0; axes are in the order
// bhsd.
Tensor attend(Tensor query, Tensor key, Tensor value, std::int64_t mask,
              std::optional<double> scale);

// The same with options that take lists; no list of floats is a microsecond faster than an empty
// one.
Tensor attend_with(Tensor query, Tensor key, Tensor value, Ints ints, std::optional<Floats> floats,
                   Tensors tensors, std::int64_t order);

// attend() for training, where nothing broadcasts (an error otherwise): (out, statistics), and from
// them the gradients that `wanted` names (bits 0 to 2: query, key, value).
std::tuple<Tensor, Tensor> attend_for_gradients(Tensor query, Tensor key, Tensor value,
                                                std::int64_t mask, std::optional<double> scale);
Tensors attend_backward(Tensor d_out, Tensor query, Tensor key, Tensor value, Tensor out,
                        Tensor statistics, std::int64_t mask, std::optional<double> scale,
                        std::int64_t wanted);

// (out, statistics): statistics holds maximum and log-sum, and lse as a third where it is asked
// for.
std::tuple<Tensor, Tensor> forward_op(Tensor query, Tensor key, Tensor value, Ints ints,
                                      Floats floats, Tensors tensors, std::int64_t order,
                                      std::int64_t plan, bool lse);

// Without gradients: (out, statistics), where statistics holds lse where it is asked for, else
// nothing. As forward_op, but that a few queries against many keys take the decode pass.
std::tuple<Tensor, Tensor> infer(Tensor query, Tensor key, Tensor value, Ints ints, Floats floats,
                                 Tensors tensors, std::int64_t order, std::int64_t plan, bool lse);

// (out, lse, maximum and log-sum): no output is a view of another, as compilers want it.
std::tuple<Tensor, Tensor, Tensor> attention_op(Tensor query, Tensor key, Tensor value, Ints ints,
                                                Floats floats, Tensors tensors, std::int64_t order);

// The gradients that `wanted` names, in this order: bits 0 to 2 for query, key and value, bit 3 + i
// for entry i of `tensors`, which must be a bias. `d_lse` is optional.
Tensors backward_op(Tensor d_out, std::optional<Tensor> d_lse, Tensor query, Tensor key,
                    Tensor value, Tensor out, Tensor statistics, Ints ints, Floats floats,
                    Tensors tensors, std::int64_t order, std::int64_t plan, std::int64_t wanted);

// What regard/score.h makes of keys, once for many calls: contiguous, of the key's shape.
Tensor prepare_keys_op(Tensor key);

// States (regard/state.h): out in float32 (float64 for float64), maximum, log-sum, each a tensor of
// its own.
std::tuple<Tensor, Tensor, Tensor> attention_state(Tensor query, Tensor key, Tensor value,
                                                   Ints ints, Floats floats, Tensors tensors,
                                                   std::int64_t order);
// The state over all keys of the states given, merged in their order.
std::tuple<Tensor, Tensor, Tensor> merge_states(Tensors outs, Tensors maxima, Tensors log_sums,
                                                std::int64_t order);
// Of n states: the gradients of their outs that bits 0 to n - 1 of `wanted` name, then of their
// log-sums, bits n to 2 n - 1. `whole` is (out, maximum, log-sum) of the merge.
Tensors merge_states_backward(Tensor d_out, std::optional<Tensor> d_log_sum, Tensors outs,
                              Tensors maxima, Tensors log_sums, Tensors whole, std::int64_t order,
                              std::int64_t wanted);

// What regard/map.h offers: `kind` is "weights", "picture", "entropy", "top" or "column_sums", and
// answers are (batch, heads or 1, ...). `region` is begin and end of batches, heads, rows and keys.
// `size`: (height, width) of a picture, (count,) of the top keys, empty otherwise. `pooling` is
// "max", "mean" or "sum", and matters to pictures only.
Tensors map_op(Tensor query, Tensor key, std::optional<Tensor> maximum,
               std::optional<Tensor> log_sum, std::optional<Tensor> row_weights, Ints ints,
               Floats floats, Tensors tensors, std::int64_t order, std::int64_t plan,
               std::string kind, Ints region, bool mean_heads, Ints size, std::string pooling);
// `rows` (batch, 1, vectors, n), passed through one layer as attention_rollout() does it.
Tensor rollout_layer(Tensor query, Tensor key, std::optional<Tensor> maximum,
                     std::optional<Tensor> log_sum, Tensor rows, Ints ints, Floats floats,
                     Tensors tensors, std::int64_t order, std::int64_t plan, double residual);

// Caches (regard/cache.h) in tensors: (slots, heads, rows, dim), or (slots, rows, heads, dim) where
// cache_order says so; scales of int8 without the dim; lengths and counts of one dimension.
// Rows go behind `lengths`, which the caller moves on.
void cache_append(Tensor key, Tensor value, Tensor k_cache, Tensor v_cache,
                  std::optional<Tensor> k_scale, std::optional<Tensor> v_scale, Tensor lengths,
                  std::optional<Tensor> counts, std::optional<Tensor> block_table,
                  std::int64_t order, std::int64_t cache_order);
// (out, lse). With cu_q the query is (total, heads, dim).
std::tuple<Tensor, Tensor> cache_attend(Tensor query, Tensor k_cache, Tensor v_cache,
                                        std::optional<Tensor> k_scale,
                                        std::optional<Tensor> v_scale, Tensor lengths,
                                        std::optional<Tensor> block_table,
                                        std::optional<Tensor> cu_q, Ints ints, Floats floats,
                                        Tensors tensors, std::int64_t order,
                                        std::int64_t cache_order);

// PageTable by a handle that is checked. pages_reserve returns which pages to copy, (2, n): from,
// to. pages_table returns the block table of some sequences, and their lengths.
std::int64_t pages_make(std::int64_t pages, std::int64_t page_size);
void pages_drop(std::int64_t handle);
std::int64_t pages_add(std::int64_t handle);
std::int64_t pages_fork(std::int64_t handle, std::int64_t sequence, std::int64_t length);
void pages_free(std::int64_t handle, std::int64_t sequence);
void pages_truncate(std::int64_t handle, std::int64_t sequence, std::int64_t length);
std::int64_t pages_count_free(std::int64_t handle);
Tensor pages_reserve(std::int64_t handle, Ints sequences, Ints counts);
std::tuple<Tensor, Tensor> pages_table(std::int64_t handle, Ints sequences);

// Plans, held by a number from 1 until free_plan. Any other number is refused, and 0 is no plan.
std::int64_t make_plan(Ints ints, Tensors tensors, std::int64_t batch, std::int64_t heads,
                       std::int64_t len_q, std::int64_t len_k);
double plan_density(std::int64_t plan);
std::string plan_picture(std::int64_t plan, std::int64_t batch, std::int64_t head,
                         std::int64_t width);
void free_plan(std::int64_t plan);

// "causal 1 0 0", ...: the kinds of records, a line each: number, how many floats, how many
// tensors.
std::string record_kinds();
// encoding_text() of regard/encoding.h.
std::string options_text(Ints ints, Floats floats, Tensors tensors);

// The name of the instruction set that a kernel was compiled for; forcing one ("" is the default
// choice).
std::string kernel_target_op();
void set_target_op(std::string name);

}  // namespace regard::torch_ops
