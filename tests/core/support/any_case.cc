// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/any_case.h"

#include <rapidcheck.h>

#include <utility>

#include "tests/core/support/any_mask.h"

namespace regard::testing {
namespace {

template <typename T>
rc::Gen<T> in(T low, T high) {
  return rc::gen::inRange<T>(low, high + 1);
}

rc::Gen<std::int64_t> any_dim() {
  return rc::gen::weightedOneOf<std::int64_t>({
      {4, in<std::int64_t>(1, 20)},
      {4, rc::gen::element<std::int64_t>(16, 32, 40, 48, 64, 80, 96, 128)},
      {2, in<std::int64_t>(1, 130)},
      {1, in<std::int64_t>(1, 512)},
  });
}

rc::Gen<std::int64_t> any_length() {
  return rc::gen::weightedOneOf<std::int64_t>({
      {2, in<std::int64_t>(0, 4)},
      {5, in<std::int64_t>(1, 70)},
      {5, in<std::int64_t>(1, 300)},
      {1, rc::gen::element<std::int64_t>(12, 24, 32, 64, 96, 255, 256, 257, 512, 513)},
      {1, in<std::int64_t>(500, 1500)},
  });
}

}  // namespace

Case any_case(double most) {
  Case c;
  c.seed = *rc::gen::inRange<std::int64_t>(0, 1000000);
  c.dtype = static_cast<int>(
      *rc::gen::weightedElement<DType>({{5, kF32}, {4, kBf16}, {2, kF16}, {2, kF64}}));
  c.batch = *rc::gen::weightedElement<std::int64_t>({{5, 1}, {3, 2}, {1, 3}, {1, 5}});
  c.heads_kv = *rc::gen::weightedElement<std::int64_t>({{5, 1}, {3, 2}, {1, 3}});
  c.group = *rc::gen::weightedElement<std::int64_t>({{5, 1}, {2, 2}, {1, 3}, {1, 5}, {1, 8}});
  c.score = *rc::gen::weightedElement<int>({{6, 0}, {1, 1}, {1, 2}, {1, 3}});
  c.d_score_v = *rc::gen::weightedElement<int>({{4, 1}, {1, 0}});
  c.len_q = *any_length();
  c.len_k = *any_length();
  c.dim = *any_dim();
  c.dim_v = *rc::gen::arbitrary<bool>() ? c.dim : *any_dim();
  const auto input_lie = [] {
    return *rc::gen::weightedOneOf<int>(
        {{3, rc::gen::just(0)}, {2, rc::gen::just(1)}, {4, in(0, kInputLies - 1)}});
  };
  c.q_lie = input_lie(), c.k_lie = input_lie(), c.v_lie = input_lie(), c.d_out_lie = input_lie();
  c.out_lie = *in(0, kOutputLies - 1), c.gradient_lie = *in(0, kOutputLies - 1);
  c.mask = any_mask();
  for (int n = *rc::gen::weightedElement<int>({{6, 0}, {4, 1}, {1, 2}}); n > 0; --n) {
    CaseBias bias;
    bias.axes = *in(0, 15);
    bias.dtype = *rc::gen::weightedElement<int>({{4, 0}, {2, 1}, {1, 2}, {1, 3}});
    bias.lie = input_lie();
    bias.before = *rc::gen::arbitrary<bool>();
    bias.wanted = *rc::gen::weightedElement<int>({{3, 1}, {1, 0}});
    c.biases.push_back(bias);
  }
  c.softcap = *rc::gen::weightedElement<double>({{3, 0}, {1, 1.5}, {1, 30}});
  c.scale = *rc::gen::weightedElement<double>({{6, 0}, {1, 0.05}, {1, -0.125}});
  c.extras = *rc::gen::weightedOneOf<int>(
      {{2, rc::gen::just(0)},
       {2, rc::gen::inRange(1, kAllExtras + 1)},
       {1, rc::gen::map(rc::gen::inRange(0, kExtras), [](int bit) { return 1 << bit; })}});
  const auto often = [](int weight) {
    return *rc::gen::weightedElement<int>({{static_cast<std::size_t>(weight), 1}, {1, 0}});
  };
  c.lse = often(2), c.d_lse = often(1), c.dq = often(5), c.dk = often(5), c.dv = often(5);
  c.wide_out = often(1), c.wide_gradients = often(1);
  c.workers = *in(1, 3);
  // Steep slopes and a scale of their own do not mix: scores would be huge, which the hostile tests
  // are for.
  c.shape = c.scale != 0 ? 0 : *rc::gen::weightedElement<int>({{5, 0}, {1, 1}, {1, 2}, {1, 3}});
  return bounded(std::move(c), most);
}

}  // namespace regard::testing
