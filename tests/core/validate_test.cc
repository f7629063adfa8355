// SPDX-License-Identifier: Apache-2.0
// Everything a caller can get wrong, and that what is unusual but right passes.
#include "core/validate/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace regard {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 62;
constexpr std::int64_t kLongest = (std::int64_t{1} << 31) - 64;

// An address of its own for each view, far from the others. Nothing reads there: validation looks
// at descriptions alone.
void* somewhere() {
  static std::uintptr_t count = 0;
  return reinterpret_cast<void*>(++count << 42);
}

TensorView view(const Shape& shape, DType dtype = DType::kFloat32) {
  return TensorView::bhsd(somewhere(), dtype, shape[0], shape[1], shape[2], shape[3]);
}
MutableTensorView result(const Shape& shape, DType dtype = DType::kFloat32) {
  return MutableTensorView::bhsd(somewhere(), dtype, shape[0], shape[1], shape[2], shape[3]);
}

// batch 2, query heads 8 on 4, lengths 5 and 7, dims 64 and 32.
struct Forward {
  Inputs inputs{view({2, 8, 5, 64}), view({2, 4, 7, 64}), view({2, 4, 7, 32})};
  Options options;
  Outputs outputs{result({2, 8, 5, 32}), result({2, 8, 5, 1}), result({2, 8, 5, 1}),
                  result({2, 8, 5, 1})};

  void set_dtype(DType dtype) {
    inputs.q.dtype = inputs.k.dtype = inputs.v.dtype = outputs.out.dtype = dtype;
    const DType numbers = dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
    outputs.maximum.dtype = outputs.log_sum.dtype = outputs.lse.dtype = numbers;
  }
  Status check() const { return validate_forward(inputs, options, outputs); }
};

struct Backward {
  BackwardInputs inputs{view({2, 8, 5, 64}), view({2, 4, 7, 64}), view({2, 4, 7, 32}),
                        view({2, 8, 5, 32}), view({2, 8, 5, 1}),  view({2, 8, 5, 1}),
                        view({2, 8, 5, 32}), view({2, 8, 5, 1})};
  Options options;
  Gradients gradients{result({2, 8, 5, 64}), result({2, 4, 7, 64}), result({2, 4, 7, 32}), {}};

  Status check() const { return validate_backward(inputs, options, gradients); }
};

struct Merge {
  State other{result({2, 8, 5, 32}), result({2, 8, 5, 1}), result({2, 8, 5, 1})};
  State into{result({2, 8, 5, 32}), result({2, 8, 5, 1}), result({2, 8, 5, 1})};

  Status check() const { return validate_merge(other, into); }
};

template <typename Call>
void expect_ok(const std::function<void(Call&)>& change) {
  Call call;
  change(call);
  const Status status = call.check();
  EXPECT_TRUE(status.ok()) << status.message();
}

// The message as a whole: it is what people read.
template <typename Call>
void expect_error(const std::function<void(Call&)>& change, const std::string& message) {
  Call call;
  change(call);
  const Status status = call.check();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), message);
}

const auto ok = expect_ok<Forward>;
const auto wrong = expect_error<Forward>;

TEST(Validate, WhatIsRight) {
  ok([](Forward&) {});
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat64})
    ok([=](Forward& f) { f.set_dtype(dtype); });
  ok([](Forward& f) { f.set_dtype(DType::kBFloat16), f.outputs.out.dtype = DType::kFloat32; });
  ok([](Forward& f) { f.outputs.maximum = f.outputs.log_sum = f.outputs.lse = {}; });
  ok([](Forward& f) { f.options.scale = -3.0; });
  ok([](Forward& f) { f.options.scale = 0.0; });
  // Inputs may share memory among elements.
  ok([](Forward& f) { f.inputs.k.strides = {0, 0, 0, 0}; });
  ok([](Forward& f) { f.inputs.v.strides[2] = -32; });
  expect_ok<Backward>([](Backward&) {});
  expect_ok<Backward>([](Backward& b) { b.inputs.d_lse = {}, b.gradients = {}; });
  expect_ok<Merge>([](Merge&) {});
}

TEST(Validate, EmptyTensorsNeedNoMemory) {
  ok([](Forward& f) {
    f.inputs.q = {nullptr, DType::kFloat32, {2, 8, 0, 64}, {}};
    f.outputs.out = {nullptr, DType::kFloat32, {2, 8, 0, 32}, {}};
    f.outputs.maximum = f.outputs.log_sum = f.outputs.lse = {};
  });
  ok([](Forward& f) {
    f.inputs.k = {nullptr, DType::kFloat32, {2, 4, 0, 64}, {}};
    f.inputs.v = {nullptr, DType::kFloat32, {2, 4, 0, 32}, {}};
  });
}

TEST(Validate, NullData) {
  wrong([](Forward& f) { f.inputs.q.data = nullptr; }, "query: no data for shape (2, 8, 5, 64)");
  wrong([](Forward& f) { f.inputs.k.data = nullptr; }, "key: no data for shape (2, 4, 7, 64)");
  wrong([](Forward& f) { f.inputs.v.data = nullptr; }, "value: no data for shape (2, 4, 7, 32)");
  wrong([](Forward& f) { f.outputs.out.data = nullptr; }, "out: no data for shape (2, 8, 5, 32)");
  expect_error<Backward>([](Backward& b) { b.inputs.maximum.data = nullptr; },
                         "maximum: no data for shape (2, 8, 5, 1)");
  expect_error<Backward>([](Backward& b) { b.inputs.log_sum.data = nullptr; },
                         "log_sum: no data for shape (2, 8, 5, 1)");
  expect_error<Backward>([](Backward& b) { b.inputs.out.data = nullptr; },
                         "out: no data for shape (2, 8, 5, 32)");
  expect_error<Backward>([](Backward& b) { b.inputs.d_out.data = nullptr; },
                         "d_out: no data for shape (2, 8, 5, 32)");
}

TEST(Validate, Sizes) {
  wrong([](Forward& f) { f.inputs.q.shape[2] = -5; },
        "query: shape (2, 8, -5, 64) has a size of -5; expected 0 to 2147483584");
  wrong([](Forward& f) { f.inputs.k.shape[2] = kLongest + 1; },
        "key: shape (2, 4, 2147483585, 64) has a size of 2147483585; expected 0 to 2147483584");
  ok([](Forward& f) {
    f.inputs.k.shape[2] = f.inputs.v.shape[2] = kLongest;
    f.inputs.k.strides = f.inputs.v.strides = {0, 0, 64, 1};
  });
}

TEST(Validate, AddressesThatOverflow) {
  const std::string past = " reaches past 2^63 bytes";
  wrong([](Forward& f) { f.inputs.k.strides[2] = kHuge; },
        "key: shape (2, 4, 7, 64) with strides (1792, 448, 4611686018427387904, 1)" + past);
  wrong([](Forward& f) { f.inputs.q.strides[0] = kHuge; },
        "query: shape (2, 8, 5, 64) with strides (4611686018427387904, 320, 64, 1)" +
            past);  // in elements it fits
  wrong([](Forward& f) { f.inputs.v.strides[1] = std::numeric_limits<std::int64_t>::min(); },
        "value: shape (2, 4, 7, 32) with strides (896, -9223372036854775808, 32, 1)" + past);
  wrong(
      [](Forward& f) {
        f.inputs.k.shape = {kLongest, 4, kLongest, 64}, f.inputs.k.strides = {0, 0, 0, 0};
      },
      "key: shape (2147483584, 4, 2147483584, 64) with strides (0, 0, 0, 0)" +
          past);  // the count of elements
  wrong([](Forward& f) { f.outputs.lse.strides[1] = kHuge; },
        "lse: shape (2, 8, 5, 1) with strides (40, 4611686018427387904, 1, 1)" + past);
  // Strides of axes that hold one element or none are never walked.
  ok([](Forward& f) { f.outputs.lse.strides[3] = std::numeric_limits<std::int64_t>::min(); });
}

TEST(Validate, DTypes) {
  wrong([](Forward& f) { f.inputs.q.dtype = DType::kInt32; },
        "query: dtype int32; expected float32, bfloat16, float16 or float64");
  wrong([](Forward& f) { f.inputs.k.dtype = DType::kBFloat16; },
        "key: dtype bfloat16; expected float32, as query");
  wrong([](Forward& f) { f.inputs.v.dtype = DType::kFloat64; },
        "value: dtype float64; expected float32, as query");
  wrong([](Forward& f) { f.inputs.v.dtype = static_cast<DType>(99); },
        "value: the dtype is unknown");
  wrong([](Forward& f) { f.outputs.out.dtype = DType::kFloat16; },
        "out: dtype float16; expected float32, as query");
  wrong([](Forward& f) { f.set_dtype(DType::kFloat16), f.outputs.out.dtype = DType::kBFloat16; },
        "out: dtype bfloat16; expected float16, as query, or float32");
  wrong([](Forward& f) { f.set_dtype(DType::kFloat64), f.outputs.out.dtype = DType::kFloat32; },
        "out: dtype float32; expected float64, as query");
}

TEST(Validate, QueryKeyValueShapes) {
  wrong([](Forward& f) { f.inputs.k.shape[1] = 3; },
        "key: shape (2, 3, 7, 64) has 3 heads; query has 8, which must be a multiple of them");
  wrong([](Forward& f) { f.inputs.k.shape[1] = 0; },
        "key: shape (2, 0, 7, 64) has 0 heads; query has 8, which must be a multiple of them");
  wrong([](Forward& f) { f.inputs.k.shape[1] = 16; },
        "key: shape (2, 16, 7, 64) has 16 heads; query has 8, which must be a multiple of them");
  wrong([](Forward& f) { f.inputs.k.shape[0] = 1; },
        "key: shape (1, 4, 7, 64) has batch 1; query has 2");
  wrong([](Forward& f) { f.inputs.k.shape[3] = 32; },
        "key: shape (2, 4, 7, 32) has dim 32; query has 64");
  wrong([](Forward& f) { f.inputs.v.shape[2] = 6; },
        "value: shape (2, 4, 6, 32); expected (2, 4, 7, 32), batch, heads and length of key");
  wrong([](Forward& f) { f.inputs.v.shape[1] = 8; },
        "value: shape (2, 8, 7, 32); expected (2, 4, 7, 32), batch, heads and length of key");
  wrong([](Forward& f) { f.inputs.q.shape[3] = f.inputs.k.shape[3] = 513; },
        "query: shape (2, 8, 5, 513) has dim 513; expected 1 to 512");
  wrong([](Forward& f) { f.inputs.q.shape[3] = f.inputs.k.shape[3] = 0; },
        "query: shape (2, 8, 5, 0) has dim 0; expected 1 to 512");
  wrong([](Forward& f) { f.inputs.v.shape[3] = 2049; },
        "value: shape (2, 4, 7, 2049) has dim 2049; expected 1 to 2048");
}

TEST(Validate, Outputs) {
  wrong([](Forward& f) { f.outputs.out.shape[3] = 64; },
        "out: shape (2, 8, 5, 64); expected (2, 8, 5, 32), (batch, heads, len_q) of query and dim "
        "of value");
  wrong([](Forward& f) { f.outputs.maximum.shape[2] = 4; },
        "maximum: shape (2, 8, 4, 1); expected (2, 8, 5, 1), (batch, heads, len_q) of query and 1");
  wrong([](Forward& f) { f.outputs.log_sum.dtype = DType::kFloat64; },
        "log_sum: dtype float64; expected float32, as scores are computed");
  wrong([](Forward& f) { f.set_dtype(DType::kFloat64), f.outputs.lse.dtype = DType::kFloat32; },
        "lse: dtype float32; expected float64, as scores are computed");
  wrong([](Forward& f) { f.set_dtype(DType::kBFloat16), f.outputs.lse.dtype = DType::kBFloat16; },
        "lse: dtype bfloat16; expected float32, as scores are computed");
  wrong([](Forward& f) { f.outputs.out.strides[0] = 0; },
        "out: shape (2, 8, 5, 32) has stride 0 on axis 0; results need a place each");
  wrong([](Forward& f) { f.outputs.lse.strides[2] = 0; },
        "lse: shape (2, 8, 5, 1) has stride 0 on axis 2; results need a place each");
}

TEST(Validate, Scale) {
  wrong([](Forward& f) { f.options.scale = NAN; }, "scale: nan; expected a finite number");
  wrong([](Forward& f) { f.options.scale = -INFINITY; }, "scale: -inf; expected a finite number");
  wrong([](Forward& f) { f.options.scale = 1e39; },
        "scale: 1e+39; expected a number that float32 can hold");
}

TEST(Validate, Softcap) {
  ok([](Forward& f) { f.options.modifiers = {Softcap{30}}; });
  wrong([](Forward& f) { f.options.modifiers = {Softcap{0}}; },
        "softcap: 0; expected a finite number above 0");
  wrong([](Forward& f) { f.options.modifiers = {Softcap{1e39}}; },
        "softcap: 1e+39; expected a number that float32 can divide by");
  wrong([](Forward& f) { f.options.modifiers = {Softcap{1e-39}}; },
        "softcap: 1e-39; expected a number that float32 can divide by");
  wrong([](Forward& f) { f.options.modifiers = {Softcap{-2}}; },
        "softcap: -2; expected a finite number above 0");
  wrong([](Forward& f) { f.options.modifiers = {Softcap{NAN}}; },
        "softcap: nan; expected a finite number above 0");
  wrong([](Forward& f) { f.options.modifiers = {Softcap{INFINITY}}; },
        "softcap: inf; expected a finite number above 0");
  wrong(
      [](Forward& f) {
        f.options.modifiers = {Softcap{2}, Bias{view({1, 1, 5, 7})}, Softcap{2}};
      },
      "softcap: given twice; expected at most one");
}

TEST(Validate, Biases) {
  const auto with = [](const TensorView& values) {
    return [=](Forward& f) { f.options.modifiers.push_back(Bias{values}); };
  };
  for (const Shape& shape :
       {Shape{2, 8, 5, 7}, {1, 8, 5, 7}, {2, 1, 5, 7}, {1, 1, 1, 7}, {1, 8, 5, 1}, {1, 1, 1, 1}})
    ok(with(view(shape)));
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat64})
    ok(with(view({1, 1, 5, 7}, dtype)));
  wrong(with(view({1, 4, 5, 7})),
        "bias: shape (1, 4, 5, 7) does not broadcast to (batch, heads, len_q, len_k) (2, 8, 5, 7)");
  wrong(with(view({1, 8, 5, 6})),
        "bias: shape (1, 8, 5, 6) does not broadcast to (batch, heads, len_q, len_k) (2, 8, 5, 7)");
  wrong(with(view({1, 8, 5, 0})),
        "bias: shape (1, 8, 5, 0) does not broadcast to (batch, heads, len_q, len_k) (2, 8, 5, 7)");
  wrong(with(view({1, 8, 5, 7}, DType::kBool)),
        "bias: dtype bool; expected float32, bfloat16, float16 or float64");
  wrong(with(TensorView{nullptr, DType::kFloat32, {1, 1, 5, 7}, {}}),
        "bias: no data for shape (1, 1, 5, 7)");
  wrong(
      [](Forward& f) {
        f.options.modifiers = {Bias{view({1, 1, 5, 7})}, Softcap{1}, Bias{view({1, 1, 4, 7})}};
      },
      "bias[1]: shape (1, 1, 4, 7) does not broadcast to (batch, heads, len_q, len_k) (2, 8, 5, "
      "7)");
}

TEST(Validate, Masks) {
  const auto with = [](const Mask& mask) { return [=](Forward& f) { f.options.mask = mask; }; };
  ok(with(causal(std::numeric_limits<std::int64_t>::min())));
  ok(with(window(-1, std::numeric_limits<std::int64_t>::max())));
  ok(with(key_lengths({0, 7})));
  ok(with(documents({0, 2, 2, 4}, {0, 0, 3, 7})));
  ok(with(documents({0}, {0})));
  ok(with(tensor(view({2, 1, 5, 7}, DType::kBool))));

  wrong(with(window(-2, 0)),
        "window: left -2, right 0; expected counts of keys, or -1 for no bound");
  wrong(with(window(0, -7)),
        "window: left 0, right -7; expected counts of keys, or -1 for no bound");
  wrong(with(window(std::numeric_limits<std::int64_t>::min(), 0)),
        "window: left -9223372036854775808, right 0; expected counts of keys, or -1 for no bound");
  wrong(with(key_lengths({7})), "key_lengths: 1 lengths; expected one for each of 2 batch entries");
  wrong(with(key_lengths({7, 8})),
        "key_lengths: length 8 of batch entry 1; expected 0 to 7, the keys there are");
  wrong(with(key_lengths({-1, 7})),
        "key_lengths: length -1 of batch entry 0; expected 0 to 7, the keys there are");
  wrong(with(documents({}, {})),
        "documents: cu_q is empty; expected one entry more than there are documents");
  wrong(with(documents({0, 5}, {0, 3, 7})),
        "documents: cu_q has 2 entries, cu_k 3; expected the same count");
  wrong(with(documents({1, 5}, {0, 7})), "documents: cu_q starts at 1; expected 0");
  wrong(with(documents({0, 5}, {-1, 7})), "documents: cu_k starts at -1; expected 0");
  wrong(with(documents({0, 4, 3}, {0, 3, 7})),
        "documents: cu_q falls from 4 to 3 at entry 2; expected entries that never fall");
  wrong(with(documents({0, 4, 5}, {0, 3, 2})),
        "documents: cu_k falls from 3 to 2 at entry 2; expected entries that never fall");
  wrong(with(documents({0, 6}, {0, 7})), "documents: cu_q ends at 6, past the 5 rows there are");
  wrong(with(documents({0, 5}, {0, 8})), "documents: cu_k ends at 8, past the 7 rows there are");
  wrong(with(tensor(view({2, 8, 5, 7}))),
        "mask tensor: dtype float32; expected bool, true where attended");
  wrong(with(tensor(view({2, 4, 5, 7}, DType::kBool))),
        "mask tensor: shape (2, 4, 5, 7) does not broadcast to (batch, heads, len_q, len_k) (2, 8, "
        "5, 7)");
  wrong(with(tensor(TensorView{nullptr, DType::kBool, {1, 1, 5, 7}, {}})),
        "mask tensor: no data for shape (1, 1, 5, 7)");
}

TEST(Validate, MasksInsideAnExpression) {
  const std::string message =
      "window: left -2, right 0; expected counts of keys, or -1 for no bound";
  const Mask bad = window(-2, 0);
  for (const Mask& mask :
       {causal() & bad, bad | causal(), ~bad, causal() | ~(key_lengths({1, 2}) & bad)}) {
    wrong([&](Forward& f) { f.options.mask = mask; }, message);
  }
}

TEST(Validate, BackwardSharesTheChecksOfForward) {
  const auto bad = expect_error<Backward>;
  bad([](Backward& b) { b.inputs.k.shape[1] = 3; },
      "key: shape (2, 3, 7, 64) has 3 heads; query has 8, which must be a multiple of them");
  bad([](Backward& b) { b.options.modifiers = {Softcap{0}}; },
      "softcap: 0; expected a finite number above 0");
  bad([](Backward& b) { b.options.mask = key_lengths({7}); },
      "key_lengths: 1 lengths; expected one for each of 2 batch entries");
}

TEST(Validate, BackwardInputs) {
  const auto bad = expect_error<Backward>;
  bad([](Backward& b) { b.inputs.out.shape[2] = 7; },
      "out: shape (2, 8, 7, 32); expected (2, 8, 5, 32), (batch, heads, len_q) of query and dim of "
      "value");
  bad([](Backward& b) { b.inputs.maximum.shape[3] = 5; },
      "maximum: shape (2, 8, 5, 5); expected (2, 8, 5, 1), (batch, heads, len_q) of query and 1");
  bad([](Backward& b) { b.inputs.log_sum.dtype = DType::kBFloat16; },
      "log_sum: dtype bfloat16; expected float32, as scores are computed");
  bad([](Backward& b) { b.inputs.d_out.shape[3] = 64; },
      "d_out: shape (2, 8, 5, 64); expected (2, 8, 5, 32), as out");
  bad([](Backward& b) { b.inputs.d_out.dtype = DType::kFloat16; },
      "d_out: dtype float16; expected float32, as out");
  bad([](Backward& b) { b.inputs.d_lse.shape[0] = 1; },
      "d_lse: shape (1, 8, 5, 1); expected (2, 8, 5, 1), (batch, heads, len_q) of query and 1");
  bad([](Backward& b) { b.inputs.d_lse.dtype = DType::kFloat64; },
      "d_lse: dtype float64; expected float32, as scores are computed");
}

TEST(Validate, Gradients) {
  const auto bad = expect_error<Backward>;
  bad([](Backward& b) { b.gradients.dq.shape[2] = 7; },
      "dq: shape (2, 8, 7, 64); expected (2, 8, 5, 64), as query");
  bad([](Backward& b) { b.gradients.dk.shape[1] = 8; },
      "dk: shape (2, 8, 7, 64); expected (2, 4, 7, 64), as key");
  bad([](Backward& b) { b.gradients.dv.dtype = DType::kFloat16; },
      "dv: dtype float16; expected float32, as value");
  bad([](Backward& b) { b.gradients.dk.strides[1] = 0; },
      "dk: shape (2, 4, 7, 64) has stride 0 on axis 1; results need a place each");
  const auto low = [](Backward& b, DType gradient) {
    b.inputs.q.dtype = b.inputs.k.dtype = b.inputs.v.dtype = b.inputs.out.dtype =
        b.inputs.d_out.dtype = DType::kBFloat16;
    b.gradients.dq.dtype = b.gradients.dk.dtype = b.gradients.dv.dtype = gradient;
  };
  expect_ok<Backward>([&](Backward& b) { low(b, DType::kBFloat16); });
  expect_ok<Backward>([&](Backward& b) { low(b, DType::kFloat32); });
  bad([&](Backward& b) { low(b, DType::kFloat16); },
      "dq: dtype float16; expected bfloat16, as query, or float32");
}

TEST(Validate, BiasGradients) {
  const auto with = [](std::vector<MutableTensorView> gradients) {
    return [=](Backward& b) {
      b.options.modifiers = {Bias{view({1, 8, 5, 7})}, Softcap{5},
                             Bias{view({2, 1, 1, 7}, DType::kBFloat16), true}};
      b.gradients.d_modifiers = gradients;
    };
  };
  expect_ok<Backward>(with({result({1, 8, 5, 7})}));
  expect_ok<Backward>(with({{}, result({2, 1, 1, 7}, DType::kBFloat16)}));
  expect_ok<Backward>(with({result({1, 8, 5, 7}), result({2, 1, 1, 7})}));
  const auto bad = expect_error<Backward>;
  bad(with({result({2, 8, 5, 7})}),
      "d_bias: shape (2, 8, 5, 7); expected (1, 8, 5, 7), as the bias");
  bad(with({{}, result({2, 1, 1, 7}, DType::kFloat16)}),
      "d_bias[1]: dtype float16; expected bfloat16, as the bias[1], or float32");
  bad(with({{}, {}, {}}), "d_modifiers: 3 gradients; 2 of the modifiers can have one");
}

TEST(Validate, MergeOfStates) {
  const auto bad = expect_error<Merge>;
  expect_ok<Merge>([](Merge& m) { m.other.out.shape[3] = m.into.out.shape[3] = 5000; });
  expect_ok<Merge>([](Merge& m) {
    for (State* state : {&m.other, &m.into})
      state->out.dtype = state->maximum.dtype = state->log_sum.dtype = DType::kFloat64;
  });
  bad([](Merge& m) { m.into.out.dtype = DType::kBFloat16; },
      "into.out: dtype bfloat16; expected float32 or float64");
  bad([](Merge& m) { m.other.out.dtype = DType::kFloat64; },
      "other.out: dtype float64; expected float32, as into.out");
  bad([](Merge& m) { m.other.out.shape[2] = 6; },
      "other.out: shape (2, 8, 6, 32); expected (2, 8, 5, 32), as into.out");
  bad([](Merge& m) { m.other.maximum.shape[1] = 1; },
      "other.maximum: shape (2, 1, 5, 1); expected (2, 8, 5, 1), (batch, heads, len_q) of into.out "
      "and 1");
  bad([](Merge& m) { m.into.log_sum.dtype = DType::kFloat64; },
      "into.log_sum: dtype float64; expected float32, as into.out");
  bad([](Merge& m) { m.other.log_sum.data = nullptr; },
      "other.log_sum: no data for shape (2, 8, 5, 1)");
  bad([](Merge& m) { m.into.maximum.data = nullptr; },
      "into.maximum: no data for shape (2, 8, 5, 1)");
  bad([](Merge& m) { m.into.out.strides[2] = 0; },
      "into.out: shape (2, 8, 5, 32) has stride 0 on axis 2; results need a place each");
}

TEST(DTypes, SizesAndNames) {
  EXPECT_EQ(size_of(DType::kBool), 1u);
  EXPECT_EQ(size_of(DType::kBFloat16), 2u);
  EXPECT_EQ(size_of(DType::kFloat16), 2u);
  EXPECT_EQ(size_of(DType::kFloat32), 4u);
  EXPECT_EQ(size_of(DType::kInt32), 4u);
  EXPECT_EQ(size_of(DType::kFloat64), 8u);
  EXPECT_EQ(size_of(DType::kInt64), 8u);
  EXPECT_STREQ(name_of(DType::kBFloat16), "bfloat16");
  EXPECT_STREQ(name_of(DType::kInt64), "int64");
  EXPECT_STREQ(name_of(static_cast<DType>(99)), "unknown");
}

}  // namespace
}  // namespace regard
