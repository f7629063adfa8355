// SPDX-License-Identifier: Apache-2.0
#include "core/api/decode.h"

#include <algorithm>
#include <string>

#include "core/api/modifiers.h"
#include "core/schedule/decode_items.h"
#include "core/schedule/run.h"

namespace regard {

std::int64_t decode_queries(const kernels::ForwardTask& pass) {
  // Where a backward pass may follow, which wants maximum and log_sum, scores must be its own, bit
  // by bit: with large ones its weights would not add up to 1 otherwise.
  const bool serves = pass.additive.v == nullptr && pass.inputs.q.dtype != DType::kFloat64 &&
                      !pass.outputs.maximum.given() && !pass.outputs.log_sum.given() &&
                      pass.layout->order_of.empty() && pass.inputs.q.shape[1] > 0;
  if (!serves) return 0;
  // Where bfloat16 has instructions of its own, which the decode pass does not use, more than one
  // query of each of several heads that share keys is faster in the other pass.
  const bool own = pass.set != &kernels::set_for(DType::kFloat32);
  return own ? 1 : kernels::kDecodeQueries;
}

kernels::RowSource source_of(const TensorView& view) {
  kernels::RowSource source;
  source.data = view.data;
  source.dtype = view.dtype;
  source.slot = view.strides[0];
  source.head = view.strides[1];
  source.row = view.strides[2];
  source.col = view.strides[3];
  return source;
}

Status DecodeMemory::prepare(const kernels::ForwardTask& pass, const kernels::RowSource& k,
                             const kernels::RowSource& v, const kernels::PageTableView& pages,
                             const Executor& executor) {
  task_.pass = &pass;
  task_.dim = pass.inputs.q.shape[3];
  task_.dim_v = pass.outputs.out.shape[3];
  task_.k = k;
  task_.v = v;
  task_.pages = pages;
  task_.states = nullptr;
  const schedule::DecodeNeeds needs = schedule::cut_decode(task_, executor.max_workers());
  work_ = needs.work;
  // Whole lines on every instruction set: the widest vectors have 16 floats.
  task_.state_stride = (static_cast<std::size_t>(task_.dim_v) + 15) / 16 * 16 + 32;
  if (needs.states == 0) return {};
  const std::size_t bytes =
      static_cast<std::size_t>(needs.states) * task_.state_stride * sizeof(float);
  states_.emplace(bytes);
  if (states_->data() == nullptr) {
    return {StatusCode::kOutOfMemory,
            "decode: " + std::to_string(bytes) + " bytes for parts of keys could not be allocated"};
  }
  task_.states = reinterpret_cast<float*>(states_->data());
  if (needs.countdowns > countdown_room_) {
    countdowns_ =
        std::make_unique<std::atomic<std::int32_t>[]>(static_cast<std::size_t>(needs.countdowns));
    countdown_room_ = needs.countdowns;
  }
  for (std::int64_t n = 0; n < needs.countdowns; ++n)
    countdowns_[static_cast<std::size_t>(n)].store(0, std::memory_order_relaxed);
  for (const kernels::DecodeItem& item : task_.items) {
    if (item.countdown >= 0)
      countdowns_[static_cast<std::size_t>(item.countdown)].fetch_add(1, std::memory_order_relaxed);
  }
  task_.countdowns = countdowns_.get();
  return {};
}

Status DecodeMemory::run(const kernels::ForwardTask& pass, double pass_work,
                         const Executor& executor) {
  struct Both {
    const kernels::DecodeTask* decode;
    const kernels::ForwardTask* pass;
    const kernels::DecodeSet *set, *matrix;
  } both{&task_, &pass, &kernels::decode_set(),
         kernels::multiplies_pairs(task_) ? kernels::decode_matrix_set() : nullptr};
  std::size_t scratch = pass.items.empty() ? 0 : pass.set->forward_scratch(pass);
  for (const kernels::DecodeSet* set : {both.set, both.matrix}) {
    if (set != nullptr && !task_.items.empty()) scratch = std::max(scratch, set->scratch(task_));
  }
  return schedule::run_items(
      executor, task_.items.size() + pass.items.size(), work_ + pass_work, scratch,
      [](const void* data, std::size_t item, std::byte* memory) {
        const Both& tasks = *static_cast<const Both*>(data);
        const std::size_t first = tasks.decode->items.size();
        if (item < first) {
          const bool matrix = tasks.matrix != nullptr &&
                              kernels::takes_matrix(*tasks.decode, tasks.decode->items[item]);
          (matrix ? tasks.matrix : tasks.set)->run(*tasks.decode, item, memory);
        } else {
          tasks.pass->set->forward(*tasks.pass, item - first, memory);
        }
      },
      &both, schedule::ItemOrder::kAny, denormals_of(pass));
}

}  // namespace regard
