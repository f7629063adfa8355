// SPDX-License-Identifier: Apache-2.0
// Options from their three flat lists: what each record becomes, and every way the lists can be
// malformed.
#include "regard/encoding.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "regard/plan.h"

namespace regard {
namespace {

using Ints = std::vector<std::int64_t>;

struct Lists {
  Ints ints;
  std::vector<double> floats = {};
  std::vector<TensorView> tensors = {};

  Status decode(Options* options) const { return regard::decode(ints, floats, tensors, options); }
};

// A list of integers as a tensor.
template <typename T>
TensorView entries(const std::vector<T>& values) {
  return TensorView::bhsd(values.data(), sizeof(T) == 4 ? DType::kInt32 : DType::kInt64, 1, 1, 1,
                          static_cast<std::int64_t>(values.size()));
}

// What a mask comes to on small sequences, one character for each pair.
std::string drawing(const Mask& mask, const PlanShape& shape = {2, 1, 6, 8}) {
  Plan plan;
  const Status status = Plan::make(mask, shape, &plan);
  if (!status.ok()) return status.message();
  return plan.picture(0) + "\n" + plan.picture(1);
}

void expect_mask(const Lists& lists, const Mask& mask) {
  Options options;
  const Status status = lists.decode(&options);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(drawing(options.mask), drawing(mask));
}

void expect_error(const Lists& lists, const std::string& message,
                  StatusCode code = StatusCode::kInvalidArgument) {
  Options options;
  options.scale = 7;
  const Status status = lists.decode(&options);
  EXPECT_EQ(status.code(), code);
  EXPECT_EQ(status.message(), message);
  EXPECT_EQ(options.scale, 7) << "an error changed the options";
}

const std::vector<std::int32_t> kLengths32{3, 8};
const std::vector<std::int64_t> kLengths64{3, 8}, kCuQ{0, 2, 6}, kCuK{0, 5, 8};
const std::array<unsigned char, 8> kBytes{1, 0, 1, 1, 0, 0, 1, 0};
const TensorView kRow = TensorView::bhsd(kBytes.data(), DType::kBool, 1, 1, 1, 8);

TEST(Encoding, Nothing) {
  Options options;
  options.scale = 3;
  options.mask = causal();
  ASSERT_TRUE((Lists{{}}.decode(&options)).ok());
  EXPECT_FALSE(options.scale.has_value());
  EXPECT_TRUE(options.mask.hides_nothing());
  EXPECT_TRUE(options.modifiers.empty());
}

TEST(Encoding, EachMask) {
  expect_mask({{1, 2, 0, 0}}, causal());
  expect_mask({{1, 2, 0, 99}}, causal());  // an offset that is not there is not read
  expect_mask({{1, 2, 1, 0}}, causal(0));
  expect_mask({{1, 2, 1, -2}}, causal(-2));
  expect_mask({{2, 4, 1, 2, 0, 0}}, window(1, 2));
  expect_mask({{2, 4, 3, -1, 1, -1}}, window(3, -1, -1));
  expect_mask({{3, 0}, {}, {entries(kLengths32)}}, key_lengths({3, 8}));
  expect_mask({{3, 0}, {}, {entries(kLengths64)}}, key_lengths({3, 8}));
  expect_mask({{4, 0}, {}, {entries(kCuQ), entries(kCuK)}}, documents({0, 2, 6}, {0, 5, 8}));
  expect_mask({{5, 0}, {}, {kRow}}, tensor(kRow));
}

TEST(Encoding, EachSparseMask) {
  const std::vector<std::int32_t> one{2};
  const std::vector<std::int64_t> tokens{6, 1, -1, 0, -1, -1}, parents{-1, 0, 0, -1, 0, 1};
  const auto by_batch = [](const std::vector<std::int64_t>& values) {
    return TensorView::bhsd(values.data(), DType::kInt64, 1, 1, 2, 3);
  };
  expect_mask({{6, 4, 1, -1, 0, 0}, {}, {entries(one)}}, dilated(1, -1, 2));
  expect_mask({{6, 4, 2, 0, 1, 1}, {}, {entries(one)}}, dilated(2, 0, 2, 1));
  expect_mask({{7, 2, 0, 0}, {}, {entries(one)}}, global_tokens({2}));
  expect_mask({{7, 2, 1, 0}, {}, {by_batch(tokens)}}, global_tokens_by_batch({{1, 6}, {0}}, 0));
  expect_mask({{9, 2, 0, 0}, {}, {entries(kLengths64)}}, prefix({3, 8}));
  expect_mask({{9, 2, 1, -1}, {}, {entries(kLengths32)}}, prefix({3, 8}, -1));
  expect_mask({{13, 0}, {}, {by_batch(parents)}}, tree_by_batch({{-1, 0, 0}, {-1, 0, 1}}));
  const std::vector<std::int64_t> tree_of_all{-1, -1, 0};
  expect_mask({{13, 0}, {}, {entries(tree_of_all)}}, tree({-1, -1, 0}));
  const TensorView layout = TensorView::bhsd(kBytes.data(), DType::kBool, 1, 1, 2, 4);
  expect_mask({{8, 2, 3, 2}, {}, {layout}}, blocks(layout, 3, 2));
  const std::vector<float> centres{0, 1.5, 2.25, 5, 7, 9};
  const TensorView column = TensorView::bhsd(centres.data(), DType::kFloat32, 1, 1, 6, 1);
  expect_mask({{14, 1, 1}, {}, {column}}, around(column, 1));
  expect_mask({{15, 5, 2, 1, 1, 1, 5}}, bigbird({2, 1, 1, 1, 5}));
  // Numbers of the last are told apart.
  EXPECT_NE(drawing(bigbird({2, 1, 0, 0, 5})), drawing(bigbird({2, 0, 1, 0, 5})));
}

TEST(Encoding, StridedIntegers) {
  const std::vector<std::int32_t> spread{3, -1, 8, -1};
  TensorView view = entries(spread);
  view.shape[3] = 2;
  view.strides[3] = 2;
  expect_mask({{3, 0}, {}, {view}}, key_lengths({3, 8}));
}

TEST(Encoding, ComposedMasksArePostfix) {
  expect_mask({{1, 2, 0, 0, 2, 4, 2, 0, 0, 0, 10, 0}}, causal() & window(2, 0));
  expect_mask({{1, 2, 1, -3, 2, 4, 1, 1, 0, 0, 11, 0}}, causal(-3) | window(1, 1));
  expect_mask({{1, 2, 1, 0, 12, 0}}, ~causal(0));
  // (lengths & ~causal(0)) | tensor: tensors in the order of their records.
  expect_mask({{3, 0, 1, 2, 1, 0, 12, 0, 10, 0, 5, 0, 11, 0}, {}, {entries(kLengths32), kRow}},
              (key_lengths({3, 8}) & ~causal(0)) | tensor(kRow));
  // The order of operands is kept: the first documents cut, the second count inside.
  const std::vector<std::int64_t> inner_q{0, 1, 4}, inner_k{0, 2, 3};
  expect_mask(
      {{4, 0, 4, 0, 10, 0}, {}, {entries(kCuQ), entries(kCuK), entries(inner_q), entries(inner_k)}},
      documents({0, 2, 6}, {0, 5, 8}) & documents({0, 1, 4}, {0, 2, 3}));
}

TEST(Encoding, ScaleAndModifiers) {
  float values[8] = {};
  const TensorView first = TensorView::bhsd(values, DType::kFloat32, 1, 1, 1, 8),
                   second = TensorView::bhsd(values + 1, DType::kFloat32, 1, 1, 1, 1);
  Options options;
  const Lists lists{{22, 1, 0, 20, 0, 22, 1, 1, 21, 0}, {0.25, 30.0}, {first, second}};
  const Status status = lists.decode(&options);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(options.scale, 0.25);
  ASSERT_EQ(options.modifiers.size(), 3u);
  EXPECT_EQ(std::get<Bias>(options.modifiers[0]).values.data, first.data);
  EXPECT_FALSE(std::get<Bias>(options.modifiers[0]).before_softcap);
  EXPECT_EQ(std::get<Bias>(options.modifiers[1]).values.data, second.data);
  EXPECT_TRUE(std::get<Bias>(options.modifiers[1]).before_softcap);
  EXPECT_EQ(std::get<Softcap>(options.modifiers[2]).cap, 30.0);
}

TEST(Encoding, PartOfALongerAttention) {
  Options options;
  ASSERT_TRUE((Lists{{50, 4, 3, 5, 20, 30}}.decode(&options).ok()));
  EXPECT_EQ(options.part, (Part{3, 5, 20, 30}));
  expect_error({{50, 4, 0, 0, 1, 1, 50, 4, 0, 0, 1, 1}}, "options: part is given twice");
  expect_error({{50, 3, 0, 0, 1}}, "options: part takes 4 integers; found 3");
}

TEST(Encoding, MalformedRecords) {
  expect_error({{1}}, "options: the last record ends after its kind");
  expect_error({{2, 4, 0, 0}}, "options: window says 4 integers; 2 are left");
  expect_error({{2, -1}}, "options: window says -1 integers; 0 are left");
  expect_error({{2, std::int64_t{1} << 62}},
               "options: window says 4611686018427387904 integers; 0 are left");
  expect_error({{2, 2, 0, 0}}, "options: window takes 4 integers; found 2");
  expect_error({{1, 3, 0, 0, 0}}, "options: causal takes 2 integers; found 3");
  expect_error({{99, 0}}, "options: records of kind 99 are not supported yet",
               StatusCode::kUnsupported);
  expect_error({{0, 0}}, "options: records of kind 0 are not supported yet",
               StatusCode::kUnsupported);
}

TEST(Encoding, ListsThatDoNotMatch) {
  expect_error({{10, 0}}, "options: and takes 2 masks; found 0");
  expect_error({{1, 2, 0, 0, 11, 0}}, "options: or takes 2 masks; found 1");
  expect_error({{12, 0}}, "options: not takes 1 masks; found 0");
  expect_error({{1, 2, 0, 0, 1, 2, 0, 0}},
               "options: 1 masks that nothing joins left over after the last record");
  expect_error({{41, 0}, {}, {kRow}},
               "options: prepared_keys without a score; keys are prepared for an additive one");
  expect_error({{20, 0}}, "options: scale takes 1 floats; found 0");
  expect_error({{20, 0, 20, 0}, {1, 2}}, "options: scale is given twice");
  expect_error({{}, {1.0}}, "options: 1 floats left over after the last record");
  expect_error({{4, 0}, {}, {entries(kCuQ)}}, "options: documents takes 2 tensors; found 1");
  expect_error({{5, 0}, {}, {kRow, kRow}}, "options: 1 tensors left over after the last record");
}

TEST(Encoding, IntegersOfTheWrongKind) {
  expect_error({{13, 0}, {}, {TensorView::bhsd(kLengths64.data(), DType::kInt64, 2, 1, 1, 1)}},
               "tree: parents: shape (2, 1, 1, 1); expected (1, 1, batch or 1, entries)");
  expect_error(
      {{6, 4, 1, 1, 0, 0}, {}, {TensorView::bhsd(kLengths64.data(), DType::kInt64, 1, 1, 2, 1)}},
      "dilated: dilations: shape (1, 1, 2, 1); expected (1, 1, 1, entries)");
  const float values[2] = {};
  expect_error({{3, 0}, {}, {TensorView::bhsd(values, DType::kFloat32, 1, 1, 1, 2)}},
               "key_lengths: dtype float32; expected int32 or int64");
  expect_error({{3, 0}, {}, {TensorView::bhsd(kLengths64.data(), DType::kInt64, 2, 1, 1, 1)}},
               "key_lengths: shape (2, 1, 1, 1); expected (1, 1, 1, entries)");
  expect_error({{3, 0}, {}, {TensorView::bhsd(nullptr, DType::kInt64, 1, 1, 1, 2)}},
               "key_lengths: no data for shape (1, 1, 1, 2)");
  expect_error({{4, 0}, {}, {entries(kCuQ), TensorView::bhsd(nullptr, DType::kInt64, 1, 1, 1, 3)}},
               "documents: cu_k: no data for shape (1, 1, 1, 3)");
}

TEST(Encoding, EachKindAndNameStandsInTheTableOnce) {
  for (const RecordFormat& one : kRecordFormats) {
    for (const RecordFormat& other : kRecordFormats) {
      if (&one == &other) continue;
      EXPECT_NE(one.kind, other.kind) << one.name;
      EXPECT_STRNE(one.name, other.name);
    }
  }
}

TEST(Encoding, RecordsAreReadableAsText) {
  const std::vector<float> values(6);
  const TensorView bias = TensorView::bhsd(values.data(), DType::kFloat32, 1, 1, 2, 3);
  const Ints ints{1, 2, 1, -3, 2, 4, 5, 0, 0, 0, 10, 0, 20, 0, 22, 1, 1, 28, 0};
  EXPECT_EQ(encoding_text(ints, std::vector<double>{0.5, 0.25}, std::vector<TensorView>{bias}),
            "causal(has_offset=1, offset=-3)\n"
            "window(left=5, right=0, has_offset=0, offset=0)\n"
            "and\n"
            "scale(scale=0.5)\n"
            "bias(before_softcap=1, values=tensor 0 (1, 1, 2, 3))\n"
            "dropout(p=0.25, seed=tensor 1)\n");
}

TEST(Encoding, TextOfWhatIsNoEncodingSaysSo) {
  EXPECT_EQ(encoding_text(Ints{99, 1, 5, 20, 0}, {}),
            "kind 99, which is not known\nscale(scale=missing)\n");
  EXPECT_EQ(encoding_text(Ints{2, 4, 5}, {}),
            "window(left=5, right=missing, has_offset=missing, offset=missing) (cut off)\n");
  EXPECT_EQ(encoding_text(Ints{2}, {}), "(cut off)\n");
}

}  // namespace
}  // namespace regard
