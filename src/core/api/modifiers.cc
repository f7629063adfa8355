#include "core/api/modifiers.h"

#include <cstring>
#include <string>

#include "core/element.h"
#include "core/modifier_tensor.h"

namespace regard {
namespace {

using kernels::Stage;

std::size_t elements(const Shape& shape) {
  return static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
}

MutableTensorView contiguous(void* data, DType dtype, const Shape& shape) {
  return MutableTensorView::bhsd(data, dtype, shape[0], shape[1], shape[2], shape[3]);
}

// Calls f(index of each element's four axes).
template <typename F>
void for_each(const Shape& shape, F f) {
  for (std::int64_t b = 0; b < shape[0]; ++b)
    for (std::int64_t h = 0; h < shape[1]; ++h)
      for (std::int64_t i = 0; i < shape[2]; ++i)
        for (std::int64_t j = 0; j < shape[3]; ++j) f(b, h, i, j);
}

void fill_with_zeros(const MutableTensorView& view) {
  const auto size = static_cast<std::int64_t>(size_of(view.dtype));
  char* data = static_cast<char*>(view.data);
  for_each({view.shape[0], view.shape[1], view.shape[2], 1}, [&](auto b, auto h, auto i, auto) {
    char* row = data + (b * view.strides[0] + h * view.strides[1] + i * view.strides[2]) * size;
    if (view.strides[3] == 1) {
      std::memset(row, 0, static_cast<std::size_t>(view.shape[3] * size));
      return;
    }
    for (std::int64_t c = 0; c < view.shape[3]; ++c)
      std::memset(row + c * view.strides[3] * size, 0, static_cast<std::size_t>(size));
  });
}

// The place of a modifier among the stages.
struct Order {
  Stage::Kind kind;
  int rank;  // the smaller, the earlier; weights from kWeights on
};
constexpr int kWeights = 6;

std::optional<Order> order_of(const Modifier& modifier) {
  using Kind = Stage::Kind;
  if (std::holds_alternative<Temperature>(modifier)) return Order{Kind::kTemperature, 0};
  if (const auto* bias = std::get_if<Bias>(&modifier))
    return Order{Kind::kBias, bias->before_softcap ? 1 : 3};
  if (std::holds_alternative<Softcap>(modifier)) return Order{Kind::kSoftcap, 2};
  if (std::holds_alternative<Alibi>(modifier)) return Order{Kind::kAlibi, 3};
  if (std::holds_alternative<RelativeBias>(modifier)) return Order{Kind::kRelativeBias, 3};
  if (std::holds_alternative<Function>(modifier)) return Order{Kind::kFunction, 4};
  if (std::holds_alternative<Dropout>(modifier)) return Order{Kind::kDropout, kWeights};
  if (std::holds_alternative<Multiplier>(modifier)) return Order{Kind::kMultiplier, kWeights};
  if (std::holds_alternative<Gaussian>(modifier)) return Order{Kind::kGaussian, kWeights};
  return std::nullopt;  // sinks: no stage
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

}  // namespace

Status ModifierMemory::list(const Options& options, const Shape& full, DType own,
                            const Gradients* gradients, std::int64_t slots) {
  std::size_t with_tensor = 0;
  for (const Modifier& modifier : options.modifiers) {
    const TensorView* tensor = modifier_tensor(modifier);
    Part part{&modifier, {}, {}, {}, false};
    if (tensor != nullptr && gradients != nullptr && with_tensor < gradients->d_modifiers.size())
      part.gradient = gradients->d_modifiers[with_tensor];
    with_tensor += tensor != nullptr ? 1 : 0;
    if (const std::optional<Order> order = order_of(modifier)) part.stage.kind = order->kind;
    if (options.part) {
      part.stage.query_begin = options.part->query_begin;
      part.stage.key_begin = options.part->key_begin;
    }
    if (tensor != nullptr) part.stage.tensor = broadcast_to(*tensor, full);
    if (const auto* softcap = std::get_if<Softcap>(&modifier)) part.stage.value = softcap->cap;
    if (const auto* gaussian = std::get_if<Gaussian>(&modifier)) part.stage.value = gaussian->sigma;
    if (const auto* function = std::get_if<Function>(&modifier)) part.stage.function = function;
    if (const auto* dropout = std::get_if<Dropout>(&modifier)) {
      if (dropout->p == 0) continue;
      part.stage.value = dropout->p;
      part.stage.seed = dropout->seed;
    }
    if (const auto* relative = std::get_if<RelativeBias>(&modifier)) {
      part.stage.query_codes = static_cast<const std::int32_t*>(relative->query_code.data);
      part.stage.key_codes = static_cast<const std::int32_t*>(relative->key_code.data);
      part.stage.shift = relative->shift;
    }
    parts_.push_back(part);
  }
  kernels::Carve sizes(nullptr);
  allocate(sizes, full, own, slots);
  if (sizes.bytes() == 0) return {};
  scratch_.emplace(sizes.bytes());
  if (scratch_->data() == nullptr) {
    return {StatusCode::kOutOfMemory, "modifiers: " + std::to_string(sizes.bytes()) +
                                          " bytes for their gradients could not be allocated"};
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
  for (Part& part : parts_) {
    const bool wanted = part.gradient.given();
    if (const auto* relative = std::get_if<RelativeBias>(part.modifier)) {
      const Shape table{1, relative->table.shape[1], 1, relative->buckets.shape[3]};
      const std::int64_t row = table[1] == 1 ? 0 : table[3];
      std::byte* spread_out = take(elements(table) * size, false);
      part.stage.tensor = {spread_out, own, full, {0, row, 0, 0}};
      if (spread_out != nullptr) {
        own == DType::kFloat64 ? spread_table(*relative, reinterpret_cast<double*>(spread_out))
                               : spread_table(*relative, reinterpret_cast<float*>(spread_out));
      }
      if (wanted)
        part.stage.gradient = {take(elements(table) * size, true), own, full, {0, row, 0, 0}};
    } else if (std::holds_alternative<Sinks>(*part.modifier)) {
      if (wanted)
        sink_sums_ = reinterpret_cast<double*>(take(
            static_cast<std::size_t>(full[0] * full[1] * part.gradient.shape[3]) * sizeof(double),
            true));
    } else if (std::holds_alternative<Temperature>(*part.modifier) ||
               std::holds_alternative<Alibi>(*part.modifier)) {
      if (wanted)
        part.stage.partials =
            reinterpret_cast<double*>(take(static_cast<std::size_t>(slots) * sizeof(double), true));
    } else if (wanted) {
      // A gradient starts at 0: pairs that no tile holds add nothing.
      part.copied = part.gradient.dtype != own;
      part.sums = part.copied ? contiguous(take(elements(part.gradient.shape) * size, true), own,
                                           part.gradient.shape)
                              : part.gradient;
      part.stage.gradient = broadcast_to(part.sums, full);
    }
  }
}

void ModifierMemory::sort(std::vector<Stage>& stages, std::vector<Stage>& weight_stages) const {
  stages.clear();
  weight_stages.clear();
  for (int rank = 0; rank <= kWeights; ++rank) {
    for (const Part& part : parts_) {
      const std::optional<Order> order = order_of(*part.modifier);
      if (order && order->rank == rank)
        (rank == kWeights ? weight_stages : stages).push_back(part.stage);
    }
  }
}

TensorView ModifierMemory::sinks() const {
  for (const Part& part : parts_) {
    if (const auto* sinks = std::get_if<Sinks>(part.modifier)) return sinks->logits;
  }
  return {};
}

Status ModifierMemory::prepare(const Options& options, const Shape& full, DType own,
                               kernels::ForwardTask& task) {
  Status status = list(options, full, own, nullptr, 0);
  sort(task.stages, task.weight_stages);
  task.sinks = sinks();
  return status;
}

Status ModifierMemory::prepare(const Options& options, const Shape& full, DType own,
                               const Gradients& gradients, std::int64_t slots,
                               kernels::BackwardTask& task) {
  Status status = list(options, full, own, &gradients, slots);
  if (!status.ok()) return status;
  for (const Part& part : parts_) {
    if (part.sums.given() && !part.copied) fill_with_zeros(part.sums);
  }
  sort(task.stages, task.weight_stages);
  task.sinks = sinks();
  return status;
}

void ModifierMemory::write(const kernels::BackwardTask& task, const kernels::KernelSet& set) const {
  const std::int64_t heads = task.inputs.q.shape[1];
  for (const Part& part : parts_) {
    const MutableTensorView& gradient = part.gradient;
    if (!gradient.given()) continue;
    const auto own = [&gradient](int axis, std::int64_t index) {
      return gradient.shape[axis] == 1 ? 0 : index;
    };
    if (const auto* relative = std::get_if<RelativeBias>(part.modifier)) {
      const void* sums = part.stage.gradient.data;
      part.stage.gradient.dtype == DType::kFloat64
          ? sum_into_table(*relative, static_cast<const double*>(sums), gradient)
          : sum_into_table(*relative, static_cast<const float*>(sums), gradient);
    } else if (std::holds_alternative<Sinks>(*part.modifier)) {
      for_each({1, heads, 1, gradient.shape[3]}, [&](auto, auto h, auto, auto m) {
        double sum = 0;
        for (std::int64_t b = 0; b < task.inputs.q.shape[0]; ++b)
          sum += sink_sums_[(b * heads + h) * gradient.shape[3] + m];
        store(gradient, 0, h, 0, m, sum);
      });
    } else if (part.stage.partials != nullptr) {
      std::vector<double> sums(elements(gradient.shape), 0);
      const std::int64_t slots_of_block = task.sequences * heads;
      for (std::int64_t block = 0; block < task.blocks; ++block) {
        for (std::int64_t s = 0; s < task.sequences; ++s) {
          const std::int64_t batch = task.layout->sequences[static_cast<std::size_t>(s)].batch;
          for (std::int64_t h = 0; h < heads; ++h) {
            sums[static_cast<std::size_t>(own(0, batch) * gradient.shape[1] + own(1, h))] +=
                part.stage.partials[block * slots_of_block + s * heads + h];
          }
        }
      }
      for_each(gradient.shape, [&](auto b, auto h, auto i, auto j) {
        store(gradient, b, h, i, j, sums[static_cast<std::size_t>(b * gradient.shape[1] + h)]);
      });
    } else if (part.copied) {
      set.copy(as_const(part.sums), gradient);
    }
  }
}

}  // namespace regard
