// SPDX-License-Identifier: Apache-2.0
// Links regard::regard_tbb, which brings regard::regard: a call on an arena of two workers gives
// the bits of a serial one.
#include <regard/attention.h>
#include <regard/executor_tbb.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  constexpr int kBatch = 2, kHeads = 2, kSeq = 100, kDim = 16;
  std::vector<float> q(kBatch * kHeads * kSeq * kDim), k(q.size()), v(q.size()), serial(q.size()),
      parallel(q.size(), -1.0f);
  for (std::size_t i = 0; i < q.size(); ++i) {
    q[i] = std::sin(0.1f * static_cast<float>(i));
    k[i] = std::cos(0.2f * static_cast<float>(i));
    v[i] = std::sin(0.3f * static_cast<float>(i));
  }
  const auto view = [](const auto& data) {
    return regard::TensorView::bhsd(data.data(), regard::DType::kFloat32, kBatch, kHeads, kSeq,
                                    kDim);
  };
  const auto run = [&](std::vector<float>& out, const regard::Executor& executor) {
    regard::Outputs outputs;
    outputs.out = regard::MutableTensorView::bhsd(out.data(), regard::DType::kFloat32, kBatch,
                                                  kHeads, kSeq, kDim);
    return regard::forward({view(q), view(k), view(v)}, regard::Options{}, outputs, executor).ok();
  };
  if (!run(serial, regard::serial_executor()) || !run(parallel, regard::TbbExecutor(2))) return 1;
  if (serial != parallel) return 2;
  std::printf("with_tbb: ok\n");
  return 0;
}
