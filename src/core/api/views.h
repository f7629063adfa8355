// SPDX-License-Identifier: Apache-2.0
// What the public functions do with whole views.
#pragma once

#include <cstring>
#include <string>

#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// `what` needed so many bytes of scratch.
inline Status no_memory(const std::string& what, std::size_t bytes) {
  return {StatusCode::kOutOfMemory,
          what + ": " + std::to_string(bytes) + " bytes could not be allocated"};
}

// Calls f(b, h, i, j), the index on each of the four axes, for every element.
template <typename F>
void for_each_index(const Shape& shape, F f) {
  for (std::int64_t b = 0; b < shape[0]; ++b)
    for (std::int64_t h = 0; h < shape[1]; ++h)
      for (std::int64_t i = 0; i < shape[2]; ++i)
        for (std::int64_t j = 0; j < shape[3]; ++j) f(b, h, i, j);
}

inline void fill_with_zeros(const MutableTensorView& view) {
  const auto size = static_cast<std::int64_t>(size_of(view.dtype));
  char* data = static_cast<char*>(view.data);
  for_each_index(
      {view.shape[0], view.shape[1], view.shape[2], 1}, [&](auto b, auto h, auto i, auto) {
        char* row = data + (b * view.strides[0] + h * view.strides[1] + i * view.strides[2]) * size;
        if (view.strides[3] == 1) {
          std::memset(row, 0, static_cast<std::size_t>(view.shape[3] * size));
          return;
        }
        for (std::int64_t c = 0; c < view.shape[3]; ++c)
          std::memset(row + c * view.strides[3] * size, 0, static_cast<std::size_t>(size));
      });
}

}  // namespace regard
