// SPDX-License-Identifier: Apache-2.0
// Links regard::regard alone: causal attention of a query that sees one key is that key's value.
#include <regard/attention.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  constexpr int kHeads = 2, kSeq = 3, kDim = 4;
  std::vector<float> q(kHeads * kSeq * kDim, 0.5f), k = q, v = q, out(q.size(), -1.0f);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
  const auto view = [](const auto& data) {
    return regard::TensorView::bhsd(data.data(), regard::DType::kFloat32, 1, kHeads, kSeq, kDim);
  };

  regard::Options options;
  options.mask = regard::causal();
  regard::Outputs outputs;
  outputs.out =
      regard::MutableTensorView::bhsd(out.data(), regard::DType::kFloat32, 1, kHeads, kSeq, kDim);
  const regard::Status status = regard::forward({view(q), view(k), view(v)}, options, outputs);
  if (!status.ok()) {
    std::printf("%s\n", status.message().c_str());
    return 1;
  }
  for (int head = 0; head < kHeads; ++head) {
    for (int c = 0; c < kDim; ++c) {
      const int first = head * kSeq * kDim + c;
      // Equal scores: the first query sees the first value, the last one the mean of all three,
      // which is the second value.
      if (out[first] != v[first]) return 2;
      if (std::abs(out[first + 2 * kDim] - v[first + kDim]) > 1e-5f) return 3;
    }
  }
  std::printf("plain: ok\n");
  return 0;
}
