// SPDX-License-Identifier: Apache-2.0
// A problem computed in parts: queries and keys cut anywhere, states merged, gradients added up.
#pragma once

#include <functional>
#include <vector>

#include "regard/state.h"
#include "tests/core/support/problem.h"

namespace regard::testing {

// 0, some places between, length: where a random number of cuts fall.
std::vector<std::int64_t> random_edges(Random& random, std::int64_t length, int most);

// What is asked of one part. `part` holds its tensors and the whole's rule.
struct PartHooks {
  std::function<Options(const Problem& part, const Part& place)> options;  // Options::part included
  std::function<std::vector<Tensor>(const Problem& part)>
      gradients;  // for the modifiers', to be written
  std::function<void(const Part& place, const std::vector<Tensor>& gradients)>
      add;  // to those of the whole
};

// The ways in which gradients reach a part (regard/state.h).
enum class PartBackward { kMerged, kOfTheWhole };

struct PartsRequest {
  std::vector<std::int64_t> query_edges, key_edges;
  PartBackward way = PartBackward::kMerged;
  Tensor sinks;  // (1, heads, 1, m), or not given: they join each finished row
  std::vector<double>* d_sinks = nullptr;  // heads * m, added to; kMerged only
};

// Results as run()'s, of float32 (float64), d_bias left out.
Results run_in_parts(const Problem& problem, const PartsRequest& request, const PartHooks& hooks);

// The options of one part of a problem, with its rule for the whole.
Options options_of_part(const Problem& part, const Part& place);

}  // namespace regard::testing
