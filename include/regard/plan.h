// SPDX-License-Identifier: Apache-2.0
// Which tiles of the score matrix exist, found from the mask's parameters and never from an n x n
// matrix.
//
// A plan can be made once and used for many calls with the same mask and lengths. It is immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "regard/mask.h"
#include "regard/part.h"
#include "regard/status.h"

namespace regard {

namespace plan {
struct Layout;  // src/core/plan: sequences, row units and their key intervals
}

struct PlanShape {
  std::int64_t batch = 1, heads = 1, len_q = 0, len_k = 0;  // heads counts query heads
};

class Plan {
 public:
  Plan() = default;

  // With a part, the mask is that of the whole attention, and `shape` that of the part's tensors.
  static Status make(const Mask& mask, const PlanShape& shape, Plan* plan,
                     const std::optional<Part>& part = std::nullopt);

  const PlanShape& shape() const { return shape_; }
  const std::optional<Part>& part() const { return part_; }
  // Pairs in tiles that exist, as a share of batch * heads * len_q * len_k; between 0 and 1. Cost
  // is proportional to it.
  double density() const;
  // A drawing of the tiles of one head, `width` columns wide: '#' full, '+' partial, '.' absent.
  std::string picture(std::int64_t batch = 0, std::int64_t head = 0, int width = 64) const;

  const std::shared_ptr<const plan::Layout>& layout() const { return layout_; }

 private:
  PlanShape shape_;
  std::optional<Part> part_;
  std::shared_ptr<const plan::Layout> layout_;
};

}  // namespace regard
