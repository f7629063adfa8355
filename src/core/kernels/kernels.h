// SPDX-License-Identifier: Apache-2.0
// The border between the kernels and the rest of the core: plain data in, a table of functions per
// instruction set. No SIMD here.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/kernels/tiling.h"
#include "core/plan/layout.h"
#include "regard/attention.h"

namespace regard::kernels {

// What runs over a tile of scores between the product and the softmax, or over its weights after
// it, in the order of the list: a modifier, and what it needs of this call (stages/stages-inl.h).
struct Stage {
  const Modifier* modifier = nullptr;  // outlives the call
  // That of the modifier (Description::tensor) in the full shape (batch, heads, len_q, len_k),
  // stride 0 where it is broadcast. Of Owner::kTable: an entry per difference of codes (heads or 1
  // rows of them), of the kernel's own type.
  TensorView tensor = {};
  // Backward: where the tensor's gradient is summed, of the kernel's own type and strides like
  // `tensor`; or not given.
  MutableTensorView gradient = {};
  // Backward, of Owner::kPartials: a sum for each (key block, sequence, query head); or null.
  double* partials = nullptr;
  // The tensors' first rows in the whole attention (regard/part.h).
  std::int64_t query_begin = 0, key_begin = 0;
};

// The learned vectors of additive scores times the scale, one for all or one for each batch entry,
// head or both. Each is divided by a power of two, so that no element is above 1 and joined
// fractions do not overflow.
struct AdditiveVectors {
  struct Vector {
    double sum, unit;  // of the elements; the power of two
  };
  const void* v = nullptr;  // [vector][stride], of the kernel's own type, zeros behind dim; null:
                            // scores are dot products
  std::size_t inner = 0, stride = 0;  // dim in whole quads; in whole panels
  std::int64_t batch_step = 0,
               head_step = 0;     // vectors between batch entries and heads, 0 where they share one
  std::vector<Vector> vectors;    // one entry a vector
  TensorView prepared_keys = {};  // what prepare_keys() made of k, in its full shape; or not given
  std::size_t index(std::int64_t batch, std::int64_t head) const {
    return static_cast<std::size_t>(batch * batch_step + head * head_step);
  }
};

// Query rows that one work item computes: units [unit_begin, unit_end) of heads [head_begin,
// head_end), which share one kv head. It meets all keys that they see: items that cover a range of
// keys, whose partial states are merged in a fixed order, are those of the decode pass
// (DecodeItem).
struct ForwardItem {
  std::int32_t sequence, kv_head, head_begin, head_end;
  std::int64_t unit_begin, unit_end;
};

struct KernelSet;
struct MapTask;  // map/map_task.h

struct ForwardTask {
  const KernelSet* set = nullptr;  // whose forward() runs the items
  Inputs inputs;
  Outputs outputs;
  const plan::Layout* layout = nullptr;
  double scale = 1;
  std::int64_t group = 1;  // query heads per kv head
  AdditiveVectors additive;
  std::vector<Stage> stages, weight_stages;
  bool fades = false;  // one of them does: items run while denormal results are flushed to 0
  std::vector<ForwardItem> items;
  TensorView sinks;  // (1, heads, 1, m), or not given
  // Sequences of at most so many queries are left to the decode pass (takes_decode() in
  // decode_task.h); 0: none.
  std::int64_t decode_queries = 0;
};

// Keys that one work item owns: for each block in [block_begin, block_end), each sequence in
// [sequence_begin, sequence_end) and each kv head in [kv_begin, kv_end), in this order, the dk and
// dv of that block. More than one of a kind where a bias gradient is summed over it.
struct BackwardItem {
  std::int64_t block_begin, block_end;
  std::int32_t sequence_begin, sequence_end, kv_begin, kv_end;
};

struct BackwardTask {
  const KernelSet* set = nullptr;
  BackwardInputs inputs;
  Gradients gradients;
  const plan::Layout* layout = nullptr;
  double scale = 1;
  std::int64_t group = 1;
  AdditiveVectors additive;
  void* d_additive = nullptr;  // [slot][additive.stride], see `sequences`: what each block adds to
                               // the gradient of v, without the scale; zeros at first
  std::vector<Stage> stages, weight_stages;
  bool fades = false;  // one of them does: items run while denormal results are flushed to 0
  std::vector<BackwardItem> items;
  std::int64_t blocks = 0;  // key blocks of the longest sequence
  std::int64_t sequences =
      0;  // slots of partial sums: (block * sequences + sequence) * heads + head
  TensorView sinks;
  // Which blocks of keys the rows of each chunk of queries see: sorted runs that do not touch,
  // chunk_runs[run_offsets[f + c] .. run_offsets[f + c + 1]) for chunk c of (sequence, mask head),
  // f = first_chunk as first_unit in plan::Layout. And which chunks see each block: all lie in
  // block_chunks[first_block + b]. Empty where nothing is hidden.
  struct Run {
    std::int32_t begin, end;
  };
  std::vector<Run> chunk_runs, block_chunks;
  std::vector<std::int64_t> run_offsets, first_chunk, first_block;
  // Where dq is accumulated when several key blocks add to it: float or double, (batch, heads,
  // len_q, dim). May be gradients.dq itself.
  MutableTensorView dq_sum;
  // One per (sequence, query head, chunk of queries): 1 + the last key block that has added its dq.
  // Blocks add in their order, so that the sum's bits do not depend on the workers. Null where one
  // block is all there is.
  std::atomic<std::int32_t>* tickets = nullptr;
  std::vector<std::int64_t> first_ticket;  // of each sequence
};

// The functions of one dtype family on one instruction set. Items are numbered as in the task;
// scratch is at least scratch_bytes(), aligned to 128 bytes, and needs no initial value.
struct KernelSet {
  std::size_t (*forward_scratch)(const ForwardTask&);
  void (*forward)(const ForwardTask&, std::size_t item, std::byte* scratch);
  std::size_t (*backward_scratch)(const BackwardTask&);
  void (*backward)(const BackwardTask&, std::size_t item, std::byte* scratch);
  std::size_t (*map_scratch)(const MapTask&);
  void (*map)(const MapTask&, std::size_t item, std::byte* scratch);
  // What the rows of one (batch, head) add to sums[m], the gradient of the head's sinks.
  void (*sink_gradients)(const BackwardTask&, std::int64_t batch, std::int64_t head,
                         std::byte* scratch, double* sums);
  // Of one (batch, kv head), for additive scores (the other sets do nothing). `row` has room for
  // CopyStride(dim) elements.
  void (*prepare_keys)(const TensorView& k, const MutableTensorView& prepared, std::int64_t batch,
                       std::int64_t head, std::byte* row);
  void (*copy)(
      const TensorView& from,
      const MutableTensorView& to);  // element by element; one of the two has the kernel's own type
  const char* (*target)();           // the instruction set that this code was compiled for
};

// Where a pass reads its keys: the prepared ones, where additive scores have them.
template <class Task>
const TensorView& keys_of(const Task& task) {
  return task.additive.prepared_keys.given() ? task.additive.prepared_keys : task.inputs.k;
}

// Whether items like one that meets so many rows of dim, and as many of dim_v, are so few that all
// of a pass lies in a cache.
template <class Task>
bool pass_is_cached(const Task& task, std::int64_t rows) {
  const TensorView &q = task.inputs.q, &v = task.inputs.v;
  const std::int64_t bytes =
      rows * (q.shape[3] + v.shape[3]) * static_cast<std::int64_t>(size_of(v.dtype));
  return bytes * static_cast<std::int64_t>(task.items.size()) <= kCachedPassBytes;
}

// Whether the gradients of keys and values are written with streaming stores, where that is
// possible.
inline bool streams_key_gradients(const BackwardTask& task) {
  const TensorView &k = task.inputs.k, &v = task.inputs.v;
  return streaming_pays(k.shape[0] * k.shape[1] * k.shape[2] * (k.shape[3] + v.shape[3]) *
                        static_cast<std::int64_t>(size_of(k.dtype)));
}

// Keys of one block of a sequence of a task: depends on its lengths and on nothing else, since the
// sums of dq are cut there.
inline std::int64_t block_keys(const BackwardTask& task, const plan::Sequence& sequence) {
  const std::int64_t dim = task.inputs.q.shape[3], dim_v = task.inputs.v.shape[3],
                     keys = sequence.k_rows;
  const bool few = task.additive.v != nullptr && few_queries(sequence);
  return few ? block_keys_of_few(dim, dim_v, keys) : block_keys(dim, dim_v, keys);
}

// The sets of one instruction set, by Highway's number for it.
const KernelSet* float32_for(std::int64_t target);
const KernelSet* float64_for(std::int64_t target);
const KernelSet* bf16_pairs_for(
    std::int64_t target);  // multiplies pairs of bfloat16; null where there is no such code
const KernelSet* amx_bf16_for(
    std::int64_t target);  // multiplies whole tiles of them in a matrix unit; null likewise
const KernelSet* additive_float32_for(std::int64_t target);
const KernelSet* additive_float64_for(std::int64_t target);

// The sets of the target that runs now (dispatch.cc). Where the processor does not multiply pairs
// of bfloat16, bfloat16 widens to float.
const KernelSet& set_for(DType dtype);
// The same for additive scores, which are computed in float whatever narrow dtype comes in.
const KernelSet& additive_set_for(DType dtype);

}  // namespace regard::kernels
