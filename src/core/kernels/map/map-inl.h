// SPDX-License-Identifier: Apache-2.0
// The map kernels of one score: who owns an answer decides which one runs.

#if defined(REGARD_KERNELS_MAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_INL_H_
#undef REGARD_KERNELS_MAP_INL_H_
#else
#define REGARD_KERNELS_MAP_INL_H_
#endif

#include "core/kernels/map/map_keys-inl.h"
#include "core/kernels/map/map_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Score>
std::size_t MapScratch(const MapTask& task) {
  return task.kind == MapTask::Kind::kColumnSums ? MapKeys<Score>::ScratchBytes(task)
                                                 : MapRows<Score>::ScratchBytes(task);
}

template <class Score>
void RunMap(const MapTask& task, std::size_t item, std::byte* scratch) {
  if (task.kind == MapTask::Kind::kColumnSums) return MapKeys<Score>::Run(task, item, scratch);
  MapRows<Score>::Run(task, item, scratch);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
