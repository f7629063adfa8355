// SPDX-License-Identifier: Apache-2.0
#include "core/api/modifiers.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/api/views.h"
#include "core/element.h"

namespace regard {
namespace {

using kernels::Stage;
using modifiers::ActsOn;
using modifiers::Owner;

std::size_t elements(const Shape& shape) {
  return static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
}

MutableTensorView contiguous(void* data, DType dtype, const Shape& shape) {
  return MutableTensorView::bhsd(data, dtype, shape[0], shape[1], shape[2], shape[3]);
}

// table[head][buckets[x]] for every difference x, in the kernel's own type.
template <typename T>
void spread_table(const RelativeBias& bias, T* to) {
  const auto* buckets = static_cast<const std::int32_t*>(bias.buckets.data);
  for (std::int64_t h = 0; h < bias.table.shape[1]; ++h) {
    for (std::int64_t x = 0; x < bias.buckets.shape[3]; ++x) {
      *to++ = static_cast<T>(load(bias.table, 0, h, 0, buckets[x * bias.buckets.strides[3]]));
    }
  }
}

template <typename T>
void sum_into_table(const RelativeBias& bias, const T* sums, const MutableTensorView& gradient) {
  const auto* buckets = static_cast<const std::int32_t*>(bias.buckets.data);
  std::vector<double> row(static_cast<std::size_t>(bias.table.shape[3]));
  for (std::int64_t h = 0; h < bias.table.shape[1]; ++h) {
    std::fill(row.begin(), row.end(), 0);
    for (std::int64_t x = 0; x < bias.buckets.shape[3]; ++x)
      row[static_cast<std::size_t>(buckets[x * bias.buckets.strides[3]])] +=
          static_cast<double>(*sums++);
    for (std::int64_t e = 0; e < bias.table.shape[3]; ++e)
      store(gradient, 0, h, 0, e, row[static_cast<std::size_t>(e)]);
  }
}

// The sums of a number per head (and batch entry), from those of all blocks, in their order.
void write_partials(const kernels::BackwardTask& task, const double* partials,
                    const MutableTensorView& gradient) {
  const auto own = [&gradient](int axis, std::int64_t index) {
    return gradient.shape[axis] == 1 ? 0 : index;
  };
  const std::int64_t heads = task.inputs.q.shape[1], slots_of_block = task.sequences * heads;
  std::vector<double> sums(elements(gradient.shape), 0);
  for (std::int64_t block = 0; block < task.blocks; ++block) {
    for (std::int64_t s = 0; s < task.sequences; ++s) {
      const std::int64_t batch = task.layout->sequences[static_cast<std::size_t>(s)].batch;
      for (std::int64_t h = 0; h < heads; ++h) {
        sums[static_cast<std::size_t>(own(0, batch) * gradient.shape[1] + own(1, h))] +=
            partials[block * slots_of_block + s * heads + h];
      }
    }
  }
  for_each_index(gradient.shape, [&](auto b, auto h, auto i, auto j) {
    store(gradient, b, h, i, j, sums[static_cast<std::size_t>(b * gradient.shape[1] + h)]);
  });
}

}  // namespace

Status ModifierMemory::list(const Options& options, const Shape& full, DType own,
                            const Gradients* gradients, std::int64_t slots) {
  std::size_t with_tensor = 0;
  for (const Modifier& modifier : options.modifiers) {
    Entry entry{modifiers::facts_of(modifier), {}, {}, {}, false};
    const TensorView* tensor = entry.facts.tensor;
    if (tensor != nullptr && gradients != nullptr && with_tensor < gradients->d_modifiers.size())
      entry.gradient = gradients->d_modifiers[with_tensor];
    with_tensor += tensor != nullptr ? 1 : 0;
    if (entry.facts.does_nothing) continue;
    entry.stage.modifier = &modifier;
    if (options.part) {
      entry.stage.query_begin = options.part->query_begin;
      entry.stage.key_begin = options.part->key_begin;
    }
    if (tensor != nullptr) entry.stage.tensor = broadcast_to(*tensor, full);
    entries_.push_back(entry);
  }
  kernels::Carve sizes(nullptr);
  allocate(sizes, full, own, slots);
  if (sizes.bytes() == 0) return {};
  scratch_.emplace(sizes.bytes());
  if (scratch_->data() == nullptr) {
    return no_memory("modifiers", sizes.bytes());
  }
  kernels::Carve memory(scratch_->data());
  allocate(memory, full, own, slots);
  return {};
}

void ModifierMemory::allocate(kernels::Carve& carve, const Shape& full, DType own,
                              std::int64_t slots) {
  const std::size_t size = size_of(own);
  const auto take = [&](std::size_t bytes, bool zero) {
    std::byte* block = carve.Take<std::byte>(bytes);
    if (block != nullptr && zero) std::memset(block, 0, bytes);
    return block;
  };
  for (Entry& entry : entries_) {
    const bool wanted = entry.gradient.given();
    const auto doubles = [&](std::int64_t count) {
      return reinterpret_cast<double*>(
          take(static_cast<std::size_t>(count) * sizeof(double), true));
    };
    switch (entry.facts.owner) {
      case Owner::kNone: break;
      case Owner::kTensor:
        // A gradient starts at 0: pairs that no tile holds add nothing.
        if (!wanted) break;
        entry.copied = entry.gradient.dtype != own;
        entry.sums = entry.copied ? contiguous(take(elements(entry.gradient.shape) * size, true),
                                               own, entry.gradient.shape)
                                  : entry.gradient;
        entry.stage.gradient = broadcast_to(entry.sums, full);
        break;
      case Owner::kPartials:
        if (wanted) entry.stage.partials = doubles(slots);
        break;
      case Owner::kSinks:
        if (wanted) sink_sums_ = doubles(full[0] * full[1] * entry.gradient.shape[3]);
        break;
      case Owner::kTable: {
        const auto& relative = std::get<RelativeBias>(*entry.stage.modifier);
        const Shape table{1, relative.table.shape[1], 1, relative.buckets.shape[3]};
        const std::int64_t row = table[1] == 1 ? 0 : table[3];
        std::byte* spread_out = take(elements(table) * size, false);
        entry.stage.tensor = {spread_out, own, full, {0, row, 0, 0}};
        if (spread_out != nullptr) {
          own == DType::kFloat64 ? spread_table(relative, reinterpret_cast<double*>(spread_out))
                                 : spread_table(relative, reinterpret_cast<float*>(spread_out));
        }
        if (wanted)
          entry.stage.gradient = {take(elements(table) * size, true), own, full, {0, row, 0, 0}};
        break;
      }
    }
  }
}

void ModifierMemory::sort(std::vector<Stage>& stages, std::vector<Stage>& weight_stages) const {
  stages.clear();
  weight_stages.clear();
  for (int rank = 0; rank < modifiers::kRanks; ++rank) {
    for (const Entry& entry : entries_) {
      if (static_cast<int>(entry.facts.rank) != rank) continue;
      switch (entry.facts.acts_on) {
        case ActsOn::kScores: stages.push_back(entry.stage); break;
        case ActsOn::kWeights: weight_stages.push_back(entry.stage); break;
        case ActsOn::kRows: break;
      }
    }
  }
}

bool ModifierMemory::fades() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.facts.fades; });
}

TensorView ModifierMemory::sinks() const {
  for (const Entry& entry : entries_) {
    if (const auto* sinks = std::get_if<Sinks>(entry.stage.modifier)) return sinks->logits;
  }
  return {};
}

Status ModifierMemory::prepare(const Options& options, const Shape& full, DType own,
                               kernels::ForwardTask& task) {
  Status status = list(options, full, own, nullptr, 0);
  sort(task.stages, task.weight_stages);
  task.fades = fades();
  task.sinks = sinks();
  return status;
}

Status ModifierMemory::prepare(const Options& options, const Shape& full, DType own,
                               const Gradients& gradients, std::int64_t slots,
                               kernels::BackwardTask& task) {
  Status status = list(options, full, own, &gradients, slots);
  if (!status.ok()) return status;
  for (const Entry& entry : entries_) {
    if (entry.sums.given() && !entry.copied) fill_with_zeros(entry.sums);
  }
  sort(task.stages, task.weight_stages);
  task.fades = fades();
  task.sinks = sinks();
  return status;
}

void ModifierMemory::write(const kernels::BackwardTask& task, const kernels::KernelSet& set) const {
  const std::int64_t heads = task.inputs.q.shape[1];
  for (const Entry& entry : entries_) {
    const MutableTensorView& gradient = entry.gradient;
    if (!gradient.given()) continue;
    switch (entry.facts.owner) {
      case Owner::kNone: break;
      case Owner::kTensor:
        if (entry.copied) set.copy(as_const(entry.sums), gradient);
        break;
      case Owner::kPartials: write_partials(task, entry.stage.partials, gradient); break;
      case Owner::kSinks:
        for_each_index({1, heads, 1, gradient.shape[3]}, [&](auto, auto h, auto, auto m) {
          double sum = 0;
          for (std::int64_t b = 0; b < task.inputs.q.shape[0]; ++b)
            sum += sink_sums_[(b * heads + h) * gradient.shape[3] + m];
          store(gradient, 0, h, 0, m, sum);
        });
        break;
      case Owner::kTable: {
        const auto& relative = std::get<RelativeBias>(*entry.stage.modifier);
        const void* sums = entry.stage.gradient.data;
        entry.stage.gradient.dtype == DType::kFloat64
            ? sum_into_table(relative, static_cast<const double*>(sums), gradient)
            : sum_into_table(relative, static_cast<const float*>(sums), gradient);
        break;
      }
    }
  }
}

}  // namespace regard
