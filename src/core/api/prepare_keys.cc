// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/return_if_error.h"
#include "core/schedule/run.h"
#include "core/validate/validate.h"

namespace regard {
namespace {

struct Call {
  const kernels::KernelSet* set;
  TensorView k;
  MutableTensorView prepared;
};

void run_head(const void* call, std::size_t item, std::byte* scratch) {
  const auto& [set, k, prepared] = *static_cast<const Call*>(call);
  const auto heads = static_cast<std::size_t>(k.shape[1]);
  set->prepare_keys(k, prepared, static_cast<std::int64_t>(item / heads),
                    static_cast<std::int64_t>(item % heads), scratch);
}

}  // namespace

Status prepare_keys(const TensorView& k, const MutableTensorView& prepared,
                    const Executor& executor) {
  REGARD_RETURN_IF_ERROR(validate_prepare_keys(k, prepared));
  const Call call{&kernels::additive_set_for(k.dtype), k, prepared};
  const auto heads = static_cast<std::size_t>(k.shape[0] * k.shape[1]),
             dim = static_cast<std::size_t>(k.shape[3]);
  constexpr double kExponential = 16;  // multiply-adds
  const double work =
      kExponential * static_cast<double>(heads * dim) * static_cast<double>(k.shape[2]);
  return schedule::run_items(executor, heads, work,
                             kernels::CopyStride(dim) * size_of(prepared.dtype), run_head, &call);
}

}  // namespace regard
