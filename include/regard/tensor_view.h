// SPDX-License-Identifier: Apache-2.0
// Views of memory that the caller owns: a pointer, an element type, four sizes and four strides.
//
// Every tensor of an attention is described in one logical order, (batch, heads, seq, dim). How it
// lies in memory is a matter of strides alone, so (batch, seq, heads, dim) tensors need no copy:
//
//   TensorView::bhsd(data, DType::kFloat32, batch, heads, seq, dim)   // contiguous (batch, heads,
//   seq, dim) TensorView::bshd(data, DType::kFloat32, batch, heads, seq, dim)   // contiguous
//   (batch, seq, heads, dim) TensorView::thd(data, DType::kFloat32, total, heads, dim)         //
//   packed sequences: batch 1, seq = total rows
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace regard {

enum class DType : std::uint8_t {
  kFloat32 = 0,
  kBFloat16 = 1,
  kFloat16 = 2,
  kFloat64 = 3,
  kBool = 4,
  kInt32 = 5,
  kInt64 = 6,
  kInt8 = 7  // keys and values of a cache, with a scale for each row (regard/cache.h)
};

// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kInt8: return 1;
    case DType::kBFloat16:
    case DType::kFloat16: return 2;
    case DType::kFloat32:
    case DType::kInt32: return 4;
    case DType::kFloat64:
    case DType::kInt64: return 8;
  }
  return 0;
}
// "float32", "bfloat16", ...
const char* name_of(DType dtype);

using Shape = std::array<std::int64_t, 4>;
using Strides = std::array<std::int64_t, 4>;  // in elements, may be 0 (broadcast) or negative

template <typename Pointer>
struct BasicTensorView {
  Pointer data = nullptr;
  DType dtype = DType::kFloat32;
  Shape shape{0, 0, 0, 0};      // (batch, heads, seq, dim)
  Strides strides{0, 0, 0, 0};  // of the same axes

  // A view that was never set means "not given" or "not wanted" wherever one is optional.
  bool given() const { return data != nullptr; }
  bool empty() const { return shape[0] == 0 || shape[1] == 0 || shape[2] == 0 || shape[3] == 0; }

  static BasicTensorView bhsd(Pointer data, DType dtype, std::int64_t batch, std::int64_t heads,
                              std::int64_t seq, std::int64_t dim) {
    return {data, dtype, {batch, heads, seq, dim}, {heads * seq * dim, seq * dim, dim, 1}};
  }
  static BasicTensorView bshd(Pointer data, DType dtype, std::int64_t batch, std::int64_t heads,
                              std::int64_t seq, std::int64_t dim) {
    return {data, dtype, {batch, heads, seq, dim}, {seq * heads * dim, dim, heads * dim, 1}};
  }
  static BasicTensorView thd(Pointer data, DType dtype, std::int64_t total, std::int64_t heads,
                             std::int64_t dim) {
    return {data, dtype, {1, heads, total, dim}, {total * heads * dim, dim, heads * dim, 1}};
  }
};

using TensorView = BasicTensorView<const void*>;
using MutableTensorView = BasicTensorView<void*>;

inline TensorView as_const(const MutableTensorView& view) {
  return {view.data, view.dtype, view.shape, view.strides};
}

}  // namespace regard
