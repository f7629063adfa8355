// SPDX-License-Identifier: Apache-2.0
// What tells a Transformer where a token stands.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace regard::nn {

// How the columns of a sinusoidal table are ordered: sin and cos of a frequency beside each other
// (Vaswani et al. 2017, arXiv 1706.03762), or all sines before all cosines (Marian).
enum class SinusoidOrder { kInterleaved, kHalves };

// table[p][..] = sin and cos of (p / 10000^(2 i / dim)): (positions, dim) float32, dim even.
torch::Tensor sinusoidal_positions(std::int64_t positions, std::int64_t dim,
                                   SinusoidOrder order = SinusoidOrder::kInterleaved);

// Adds a row of a table to each embedded token. The table is learned, (max_positions, dim), or
// sinusoidal: then it is no parameter, and grows with the sequences that it meets.
class PositionalEncodingImpl : public torch::nn::Module {
 public:
  static std::shared_ptr<PositionalEncodingImpl> learned(std::int64_t max_positions,
                                                         std::int64_t dim);
  static std::shared_ptr<PositionalEncodingImpl> sinusoidal(std::int64_t dim, SinusoidOrder order);

  // embedded (batch, len, dim), whose first token stands at `first`. std::invalid_argument where a
  // learned table has too few positions.
  torch::Tensor forward(const torch::Tensor& embedded, std::int64_t first = 0);

 private:
  bool learned_ = false;
  SinusoidOrder order_ = SinusoidOrder::kInterleaved;
  torch::Tensor table_;
};
TORCH_MODULE(PositionalEncoding);

}  // namespace regard::nn
