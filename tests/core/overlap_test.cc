// SPDX-License-Identifier: Apache-2.0
// Views that share memory, judged byte by byte; that calls refuse results over what they read, and
// take the layouts that only look like it.
#include "core/validate/overlap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "regard/map.h"
#include "regard/score.h"
#include "regard/state.h"
#include "tests/core/support/executors.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

std::set<const char*> bytes_of(const TensorView& view) {
  std::set<const char*> bytes;
  const auto size = static_cast<std::int64_t>(size_of(view.dtype));
  for_each_index(view.shape, [&](auto b, auto h, auto s, auto d) {
    const Strides& steps = view.strides;
    const char* element = static_cast<const char*>(view.data) +
                          (b * steps[0] + h * steps[1] + s * steps[2] + d * steps[3]) * size;
    for (std::int64_t byte = 0; byte < size; ++byte) bytes.insert(element + byte);
  });
  return bytes;
}

bool share_a_byte(const TensorView& a, const TensorView& b) {
  const std::set<const char*> of_a = bytes_of(a);
  for (const char* byte : bytes_of(b))
    if (of_a.count(byte) != 0) return true;
  return false;
}

TEST(Overlap, RandomViews) {
  Random random(1);
  const auto pick = [&](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };
  char* memory = reinterpret_cast<char*>(std::uintptr_t{1} << 40);
  const DType dtypes[] = {DType::kBFloat16, DType::kFloat32, DType::kFloat64, DType::kBool};
  int apart = 0, close = 0;
  for (int n = 0; n < 20000; ++n) {
    TensorView views[2];
    for (TensorView& view : views) {
      view.data = memory + pick(-100, 100);
      view.dtype = dtypes[pick(0, 3)];
      for (std::size_t axis = 0; axis < 4; ++axis) {
        view.shape[axis] = pick(1, 3);
        view.strides[axis] = pick(-9, 9) * (pick(0, 2) == 0 ? 3 : 1);
      }
    }
    const bool expected = share_a_byte(views[0], views[1]);
    (expected ? close : apart) += 1;
    ASSERT_EQ(overlap(views[0], views[1]), expected) << n;
    ASSERT_EQ(overlap(views[1], views[0]), expected) << n;
  }
  EXPECT_GT(apart, 2000);
  EXPECT_GT(close, 2000);
}

// Query, key and value of one tensor, (batch, seq, 3, heads, dim) and (batch, seq, heads, 3, dim).
TEST(Overlap, PackedViewsLieApart) {
  char* memory = reinterpret_cast<char*>(std::uintptr_t{1} << 40);
  const std::int64_t batch = 5, seq = 1000003, heads = 12, dim = 64;
  const Shape shape{batch, heads, seq, dim};
  for (const bool heads_outside : {true, false}) {
    const std::int64_t row = 3 * heads * dim;
    const Strides strides{seq * row, heads_outside ? dim : 3 * dim, row, 1};
    const auto part = [&](std::int64_t n, std::int64_t shift) {
      return TensorView{memory + (n * (heads_outside ? heads * dim : dim) + shift) * 4,
                        DType::kFloat32, shape, strides};
    };
    for (std::int64_t a = 0; a < 3; ++a) {
      for (std::int64_t b = 0; b < 3; ++b) EXPECT_EQ(overlap(part(a, 0), part(b, 0)), a == b);
      EXPECT_TRUE(overlap(part(a, 1), part((a + 1) % 3, 0)));
    }
    // Contiguous, within the packed tensor.
    EXPECT_TRUE(overlap(
        part(0, 0), TensorView::bhsd(memory + 4 * row * seq, DType::kFloat32, 1, heads, 8, dim)));
    // A tensor in the gap between two rows of a part: what is between one head's queries and the
    // next, or the keys and values of all heads.
    const std::int64_t gap = row * seq + (heads_outside ? heads * dim : dim);
    EXPECT_FALSE(
        overlap(part(0, 0), TensorView::bhsd(memory + 4 * gap, DType::kFloat32, 1, 1, 2, dim)));
  }
}

TEST(Overlap, NothingSharesMemoryWithNothing) {
  float x = 0;
  const TensorView one = TensorView::bhsd(&x, DType::kFloat32, 1, 1, 1, 1);
  EXPECT_TRUE(overlap(one, one));
  EXPECT_FALSE(overlap(one, TensorView{}));
  EXPECT_FALSE(overlap(one, TensorView::bhsd(&x, DType::kFloat32, 1, 1, 0, 1)));
}

constexpr const char* kOwn = "; results need memory of their own";

Outputs results(const MutableTensorView& out, const MutableTensorView& maximum = {},
                const MutableTensorView& log_sum = {}, const MutableTensorView& lse = {}) {
  return {out, maximum, log_sum, lse};
}
Gradients gradients_of(const MutableTensorView& q, const MutableTensorView& k,
                       const MutableTensorView& v, std::vector<MutableTensorView> modifiers = {}) {
  return {q, k, v, std::move(modifiers)};
}
Options with(std::vector<Modifier> modifiers) {
  Options options;
  options.modifiers = std::move(modifiers);
  return options;
}

class OverlapRefused : public ::testing::Test {
 protected:
  static constexpr std::int64_t kBatch = 1, kHeads = 2, kLength = 5, kDim = 8;

  OverlapRefused() : memory_(64 * 1024, 0.5f) {}

  // Tensors of their own, one after another.
  MutableTensorView next(std::int64_t dim) {
    const MutableTensorView view = MutableTensorView::bhsd(memory_.data() + used_, DType::kFloat32,
                                                           kBatch, kHeads, kLength, dim);
    used_ += static_cast<std::size_t>(kBatch * kHeads * kLength * dim);
    return view;
  }
  static MutableTensorView moved(MutableTensorView view, std::int64_t elements) {
    view.data = static_cast<float*>(view.data) + elements;
    return view;
  }
  static void expect_refused(const Status& status, const std::string& what) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), what + kOwn);
  }

  std::vector<float> memory_;
  std::size_t used_ = 0;
  const MutableTensorView q_ = next(kDim), k_ = next(kDim), v_ = next(kDim), out_ = next(kDim),
                          maximum_ = next(1), log_sum_ = next(1), lse_ = next(1);
  const Inputs inputs_{as_const(q_), as_const(k_), as_const(v_)};
};

TEST_F(OverlapRefused, Forward) {
  expect_refused(forward(inputs_, {}, results(k_)), "out: shares memory with key");
  expect_refused(forward(inputs_, {}, results(v_)), "out: shares memory with value");
  expect_refused(forward(inputs_, {}, results(moved(v_, kLength * kDim))),
                 "out: shares memory with value");
  expect_refused(forward(inputs_, {}, results(moved(q_, -1))), "out: shares memory with query");
  MutableTensorView turned = moved(q_, (kLength - 1) * kDim);
  turned.strides[2] = -kDim;
  expect_refused(forward(inputs_, {}, results(turned)), "out: shares memory with query");
}

TEST_F(OverlapRefused, Statistics) {
  const auto over = [](const MutableTensorView& view, const MutableTensorView& memory) {
    MutableTensorView moved = view;
    moved.data = memory.data;
    return moved;
  };
  expect_refused(forward(inputs_, {}, results(out_, over(maximum_, q_))),
                 "maximum: shares memory with query");
  expect_refused(forward(inputs_, {}, results(out_, over(maximum_, out_))),
                 "maximum: shares memory with out");
  expect_refused(forward(inputs_, {}, results(out_, maximum_, log_sum_, maximum_)),
                 "lse: shares memory with maximum");
  expect_refused(forward(inputs_, {}, results(q_, maximum_, log_sum_, over(lse_, q_))),
                 "lse: shares memory with out");
}

TEST_F(OverlapRefused, Options) {
  std::vector<float> slopes(kHeads, 0.5f);
  const TensorView bias = {out_.data, DType::kFloat32, {1, 1, 1, kLength}, {0, 0, 0, 1}};
  expect_refused(forward(inputs_, with({Bias{bias}}), results(out_)),
                 "out: shares memory with bias");
  const TensorView per_head = {slopes.data(), DType::kFloat32, {1, kHeads, 1, 1}, {0, 1, 0, 0}};
  EXPECT_TRUE(forward(inputs_, with({Alibi{per_head}}), results(out_)).ok());
  Options options;
  options.score = Additive{{out_.data, DType::kFloat32, {1, 1, 1, kDim}, {0, 0, 0, 1}}};
  expect_refused(forward(inputs_, options, results(out_)), "out: shares memory with score.v");
}

TEST_F(OverlapRefused, Backward) {
  const MutableTensorView d_out = next(kDim), dq = next(kDim), dk = next(kDim), dv = next(kDim);
  const BackwardInputs inputs{
      inputs_.q,          inputs_.k,          inputs_.v,       as_const(out_),
      as_const(maximum_), as_const(log_sum_), as_const(d_out), {}};
  ASSERT_TRUE(forward(inputs_, {}, results(out_, maximum_, log_sum_)).ok());
  EXPECT_TRUE(backward(inputs, {}, gradients_of(dq, dk, dv)).ok());
  expect_refused(backward(inputs, {}, gradients_of(q_, dk, dv)), "dq: shares memory with query");
  expect_refused(backward(inputs, {}, gradients_of(dq, v_, dv)), "dk: shares memory with value");
  expect_refused(backward(inputs, {}, gradients_of(dq, dk, d_out)), "dv: shares memory with d_out");
  expect_refused(backward(inputs, {}, gradients_of(dq, dk, out_)), "dv: shares memory with out");
  expect_refused(backward(inputs, {}, gradients_of(dq, dk, dk)), "dv: shares memory with dk");
  expect_refused(backward(inputs, {}, gradients_of(dq, moved(dq, 3), dv)),
                 "dk: shares memory with dq");

  std::vector<float> values(kLength, 0.25f);
  const TensorView bias = {values.data(), DType::kFloat32, {1, 1, 1, kLength}, {0, 0, 0, 1}};
  const Options options = with({Bias{bias}, Bias{bias}});
  const auto d_bias = [&](void* data) {
    return MutableTensorView{data, bias.dtype, bias.shape, bias.strides};
  };
  std::vector<float> first(kLength), second(kLength);
  EXPECT_TRUE(backward(inputs, options,
                       gradients_of(dq, dk, dv, {d_bias(first.data()), d_bias(second.data())}))
                  .ok());
  expect_refused(backward(inputs, options, gradients_of(dq, dk, dv, {d_bias(values.data())})),
                 "d_bias: shares memory with bias");
  expect_refused(backward(inputs, options, gradients_of(dq, dk, dv, {d_bias(dq.data)})),
                 "d_bias: shares memory with dq");
  expect_refused(backward(inputs, options,
                          gradients_of(dq, dk, dv, {d_bias(first.data()), d_bias(first.data())})),
                 "d_bias[1]: shares memory with d_bias");
}

TEST_F(OverlapRefused, MapsAndStates) {
  const MapInputs looked{inputs_.q, inputs_.k, {}, {}};
  MutableTensorView weights = next(kLength);
  EXPECT_TRUE(attention_weights(looked, {}, {}, weights).ok());
  MutableTensorView over = weights;
  over.data = k_.data;
  expect_refused(attention_weights(looked, {}, {}, over), "weights: shares memory with key");
  over.data = q_.data;
  expect_refused(attention_weights(looked, {}, {}, over), "weights: shares memory with query");
  MutableTensorView keys =
      MutableTensorView::bhsd(weights.data, DType::kInt64, kBatch, kHeads, kLength, 2);
  MutableTensorView top = weights;
  top.shape[3] = 2;
  expect_refused(attention_top(looked, {}, {}, keys, top), "keys: shares memory with weights");

  const State other{out_, maximum_, log_sum_}, into{next(kDim), next(1), next(1)};
  EXPECT_TRUE(merge(other, into).ok());
  expect_refused(merge(other, {into.out, into.maximum, other.log_sum}),
                 "into.log_sum: shares memory with other.log_sum");
  expect_refused(merge(other, other), "into.out: shares memory with other.out");
  const MutableTensorView d_out = next(kDim), d_lse = next(1);
  expect_refused(merge_backward(other, into, as_const(d_out), {}, {d_out, d_lse}),
                 "gradients.d_out: shares memory with d_out");
  expect_refused(prepare_keys(inputs_.k, k_), "prepared: shares memory with key");

  MutableTensorView rows = MutableTensorView::bhsd(q_.data, DType::kFloat32, 1, 1, 1, kLength);
  const RolloutLayer layers[] = {{looked, {}}};
  expect_refused(attention_rollout(layers, 0.5, rows), "layers[0]: rows: shares memory with query");
}

// Gradients packed as queries, keys and values are.
TEST_F(OverlapRefused, PackedGradientsAreNot) {
  std::vector<float> packed(3 * kHeads * kLength * kDim), gradients(packed.size());
  const auto part = [](std::vector<float>& of, std::int64_t n) {
    return MutableTensorView{of.data() + n * kHeads * kDim,
                             DType::kFloat32,
                             {1, kHeads, kLength, kDim},
                             {0, kDim, 3 * kHeads * kDim, 1}};
  };
  const Inputs inputs{as_const(part(packed, 0)), as_const(part(packed, 1)),
                      as_const(part(packed, 2))};
  ASSERT_TRUE(forward(inputs, {}, results(out_, maximum_, log_sum_)).ok());
  const MutableTensorView d_out = next(kDim);
  const BackwardInputs all{inputs.q,           inputs.k,           inputs.v,        as_const(out_),
                           as_const(maximum_), as_const(log_sum_), as_const(d_out), {}};
  const Status status =
      backward(all, {}, gradients_of(part(gradients, 0), part(gradients, 1), part(gradients, 2)));
  EXPECT_TRUE(status.ok()) << status.message();
}

// The one that is allowed: out over the same view of q has the bits of an out of its own, for any
// dtype, layout, score, mask, scale (with 1, queries are read where they lie) and number of
// workers.
TEST(OutOverQueries, HasTheSameBits) {
  Random random(7);
  const Rule rules[] = {{}, see_causal(), see_causal() & see_window(9, 3)};
  for (const DType dtype : {kF32, kBf16, kF64}) {
    for (const std::int64_t len_q : {1, 3, 40, 500}) {
      for (const double scale : {1.0, 0.3}) {
        for (const Rule& rule : rules) {
          for (const bool additive : {false, true}) {
            Problem p = random_problem(random, dtype, {2, 2, 2, len_q, 300, 32, 32});
            p.d_out = Tensor();
            p.rule = rule;
            p.scale = scale;
            if (additive) {
              p.score_v = Tensor(dtype, {1, 1, 1, 32});
              p.score_v.fill_normal(random);
            }
            Tensor expected = p.q;  // of the same shape; without statistics, as below
            ASSERT_TRUE(forward({p.q.view(), p.k.view(), p.v.view()}, p.options(),
                                results(expected.mutable_view()))
                            .ok());
            for (const int workers : {1, 3}) {
              Tensor q = p.q;
              const Inputs inputs{q.view(), p.k.view(), p.v.view()};
              const Status status =
                  forward(inputs, p.options(), results(q.mutable_view()), ThreadExecutor(workers));
              ASSERT_TRUE(status.ok()) << status.message();
              EXPECT_TRUE(same_bits(q, expected)) << len_q << " queries, scale " << scale;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace regard::testing
