// SPDX-License-Identifier: Apache-2.0
// What map kernels are told: which weights are looked at, and what becomes of them. No SIMD here.
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernels/kernels.h"
#include "regard/map.h"

namespace regard::kernels {

// What one work item owns: query rows [begin, end) of the tensors in one batch entry and head, or
// in all heads of a mean, in their order. Of column sums: chunk `begin` of the keys of sequence
// `sequence`.
struct MapItem {
  std::int64_t batch;
  std::int32_t head_begin, head_end;
  std::int64_t begin, end;
  std::size_t sequence = 0;
};

struct MapTask {
  enum class Kind : std::uint8_t { kTiles, kPicture, kEntropy, kTop, kColumnSums };

  Kind kind = Kind::kTiles;
  // The forward pass whose weights these are: its inputs (values have no columns), options and
  // statistics, and the items that compute the latter.
  ForwardTask pass;
  MapRegion region;   // its ends are sizes of axes, never -1
  bool mean = false;  // over the region's heads
  Pooling pooling = Pooling::kMax;
  MutableTensorView out;
  MutableTensorView keys;      // kTop
  TensorView row_weights;      // kColumnSums: (batch, 1 or heads, vectors, rows), or not given: one
                               // vector of ones
  std::int64_t most_rows = 0;  // of a picture, in one item
  std::vector<MapItem> items;
  std::vector<std::size_t> first_sequence;  // of each batch entry of the layout, and the end

  // kColumnSums: which units of rows see each chunk of keys: all lie in
  // chunk_units[first_chunk[sequence * mask_heads + mask head] + chunk].
  struct Run {
    std::int64_t begin, end;
  };
  std::vector<Run> chunk_units;
  std::vector<std::size_t> first_chunk;

  std::int64_t vectors() const { return row_weights.given() ? row_weights.shape[2] : 1; }
};

}  // namespace regard::kernels
