// SPDX-License-Identifier: Apache-2.0
#include "core/cache/memory.h"

#include <new>

namespace regard {
namespace {

constexpr std::align_val_t kAlign{64};

std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

CacheOffsets CacheSizes::offsets() const {
  const auto rows_of_all = static_cast<std::size_t>(slots) * static_cast<std::size_t>(heads) *
                           static_cast<std::size_t>(rows);
  const auto scales = [&](DType dtype) {
    return dtype == DType::kInt8 ? whole_lines(rows_of_all * sizeof(float)) : std::size_t{0};
  };
  CacheOffsets at;
  at.v = whole_lines(rows_of_all * static_cast<std::size_t>(dim) * size_of(k_dtype));
  at.k_scale = at.v + whole_lines(rows_of_all * static_cast<std::size_t>(dim_v) * size_of(v_dtype));
  at.v_scale = at.k_scale + scales(k_dtype);
  at.bytes = at.v_scale + scales(v_dtype);
  return at;
}

MutableCacheView CacheSizes::view(std::byte* memory) const {
  const CacheOffsets at = offsets();
  MutableCacheView view;
  view.k = MutableTensorView::bhsd(memory, k_dtype, slots, heads, rows, dim);
  view.v = MutableTensorView::bhsd(memory + at.v, v_dtype, slots, heads, rows, dim_v);
  if (k_dtype == DType::kInt8)
    view.k_scale =
        MutableTensorView::bhsd(memory + at.k_scale, DType::kFloat32, slots, heads, rows, 1);
  if (v_dtype == DType::kInt8)
    view.v_scale =
        MutableTensorView::bhsd(memory + at.v_scale, DType::kFloat32, slots, heads, rows, 1);
  return view;
}

std::shared_ptr<std::byte> cache_memory(std::size_t bytes) {
  auto* data = static_cast<std::byte*>(::operator new(bytes, kAlign, std::nothrow));
  if (data == nullptr) return nullptr;
  return {data, [](std::byte* memory) { ::operator delete(memory, kAlign); }};
}

}  // namespace regard
