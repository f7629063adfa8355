// Masks against dense matrices filled pair by pair from their formulas: intervals must be sound, bits exact.
#include "regard/mask.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "core/plan/layout.h"

namespace regard {
namespace {

using plan::Interval;
using plan::kRowUnit;
using plan::Layout;
using plan::Sequence;

// A query row and a key row: in the tensors, and counted in their own sequence.
struct At {
  std::int64_t batch, head, row, key, i, j, offset;
};

// A mask, and beside it what it means.
struct Formula {
  Mask mask;
  std::function<bool(const At&)> allows = [](const At&) { return true; };
  std::string text = "all";
  std::vector<std::int64_t> cu_q, cu_k;  // where documents stand at the top: pairs count inside theirs
};

// ---- what each mask means

Formula make_causal(std::optional<std::int64_t> offset) {
  return {causal(offset), [=](const At& at) { return at.j <= at.i + offset.value_or(at.offset); },
          "causal(" + (offset ? std::to_string(*offset) : "") + ")", {}, {}};
}

Formula make_window(std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset) {
  const auto allows = [=](const At& at) {
    const std::int64_t centre = at.i + offset.value_or(at.offset);
    return (left == -1 || at.j >= centre - left) && (right == -1 || at.j <= centre + right);
  };
  return {window(left, right, offset), allows,
          "window(" + std::to_string(left) + ", " + std::to_string(right) + (offset ? ", " + std::to_string(*offset) : "") + ")", {}, {}};
}

std::string list(const std::vector<std::int64_t>& values) {
  std::string out = "{";
  for (const std::int64_t value : values) out += (out.size() == 1 ? "" : ", ") + std::to_string(value);
  return out + "}";
}

Formula make_lengths(std::vector<std::int64_t> lengths) {
  return {key_lengths(lengths), [=](const At& at) { return at.key < lengths[static_cast<std::size_t>(at.batch)]; },
          "key_lengths(" + list(lengths) + ")", {}, {}};
}

// The document of a row, or -1 - row (a different one for each, of no document) past the last.
std::int64_t document_of(std::int64_t row, const std::vector<std::int64_t>& bounds) {
  for (std::size_t n = 0; n + 1 < bounds.size(); ++n) {
    if (bounds[n] <= row && row < bounds[n + 1]) return static_cast<std::int64_t>(n);
  }
  return -1 - row;
}

bool same_document(std::int64_t i, std::int64_t j, const std::vector<std::int64_t>& cu_q, const std::vector<std::int64_t>& cu_k) {
  const std::int64_t document = document_of(i, cu_q);
  return document >= 0 && document == document_of(j, cu_k);
}

Formula make_documents(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k) {
  return {documents(cu_q, cu_k), [=](const At& at) { return same_document(at.i, at.j, cu_q, cu_k); },
          "documents(" + list(cu_q) + ", " + list(cu_k) + ")", {}, {}};
}

// Bytes of a boolean tensor, and a view of them.
struct Bytes {
  std::vector<unsigned char> bytes;
  TensorView view;

  bool at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    const std::int64_t index[4] = {b, h, i, j};
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < 4; ++axis) offset += view.shape[axis] == 1 ? 0 : index[axis] * view.strides[axis];
    return static_cast<const unsigned char*>(view.data)[offset] != 0;
  }
};

Formula make_tensor(std::shared_ptr<Bytes> bytes, std::string text) {
  return {tensor(bytes->view), [=](const At& at) { return bytes->at(at.batch, at.head, at.row, at.key); }, std::move(text), {}, {}};
}

Formula both(const Formula& a, const Formula& b) {
  return {a.mask & b.mask, [x = a.allows, y = b.allows](const At& at) { return x(at) && y(at); }, "(" + a.text + " & " + b.text + ")", {}, {}};
}
Formula either(const Formula& a, const Formula& b) {
  return {a.mask | b.mask, [x = a.allows, y = b.allows](const At& at) { return x(at) || y(at); }, "(" + a.text + " | " + b.text + ")", {}, {}};
}
Formula inverse(const Formula& a) {
  return {~a.mask, [x = a.allows](const At& at) { return !x(at); }, "~" + a.text, {}, {}};
}
// Documents at the top of an expression.
Formula packed(std::vector<std::int64_t> cu_q, std::vector<std::int64_t> cu_k, const Formula& inside) {
  return {documents(cu_q, cu_k) & inside.mask, inside.allows, "documents(" + list(cu_q) + ", " + list(cu_k) + ") & " + inside.text, cu_q, cu_k};
}

bool allowed(const Formula& formula, const PlanShape& shape, std::int64_t batch, std::int64_t head, std::int64_t row, std::int64_t key) {
  At at{batch, head, row, key, row, key, shape.len_k - shape.len_q};
  if (!formula.cu_q.empty()) {
    if (!same_document(row, key, formula.cu_q, formula.cu_k)) return false;
    const auto n = static_cast<std::size_t>(document_of(row, formula.cu_q));
    at.i = row - formula.cu_q[n];
    at.j = key - formula.cu_k[n];
    at.offset = (formula.cu_k[n + 1] - formula.cu_k[n]) - (formula.cu_q[n + 1] - formula.cu_q[n]);
  }
  return formula.allows(at);
}

// ---- what a layout must fulfil

// Empty when the layout tells the truth about the formula, otherwise the first lie.
std::string first_lie(const Layout& layout, const Formula& formula) {
  const PlanShape& shape = layout.shape;
  const auto pair = [&](const Sequence& s, std::int64_t h, std::int64_t i, std::int64_t j) {
    return allowed(formula, shape, s.batch, h, s.q_begin + i, s.k_begin + j);
  };
  std::vector<int> query_owners(static_cast<std::size_t>(shape.batch * shape.len_q)), key_owners(static_cast<std::size_t>(shape.batch * shape.len_k));
  for (std::size_t s = 0; s < layout.sequences.size(); ++s) {
    const Sequence& sequence = layout.sequences[s];
    const std::string where = "sequence " + std::to_string(s);
    if (sequence.len_k < 0 || sequence.len_k > sequence.k_rows) return where + " has len_k " + std::to_string(sequence.len_k);
    for (std::int64_t i = 0; i < sequence.len_q; ++i) ++query_owners.at(static_cast<std::size_t>(sequence.batch * shape.len_q + sequence.q_begin + i));
    for (std::int64_t j = 0; j < sequence.k_rows; ++j) ++key_owners.at(static_cast<std::size_t>(sequence.batch * shape.len_k + sequence.k_begin + j));

    for (std::int32_t h = 0; h < shape.heads; ++h) {
      // Keys that no interval may speak of: other sequences', and those past len_k.
      for (std::int64_t i = 0; i < sequence.len_q; ++i) {
        for (std::int64_t key = 0; key < shape.len_k; ++key) {
          const bool mine = key >= sequence.k_begin && key < sequence.k_begin + sequence.len_k;
          if (!mine && allowed(formula, shape, sequence.batch, h, sequence.q_begin + i, key)) return where + " leaves out key " + std::to_string(key);
        }
      }
      for (std::int64_t u = 0; u < layout.units(s); ++u) {
        const std::int64_t first = u * kRowUnit, last = std::min(first + kRowUnit, sequence.len_q);
        std::vector<int> kind(static_cast<std::size_t>(sequence.len_k), 0);
        std::int64_t reached = 0;
        bool last_full = false, touches = false;
        for (const Interval& interval : layout.unit(s, h, u)) {
          if (interval.begin < reached || interval.end <= interval.begin || interval.end > sequence.len_k) return where + ": intervals out of order";
          if (touches && interval.begin == reached && interval.full == last_full) return where + ": neighbours of one kind";
          reached = interval.end;
          last_full = interval.full;
          touches = true;
          std::fill(kind.begin() + interval.begin, kind.begin() + interval.end, interval.full ? 2 : 1);
        }
        for (std::int64_t j = 0; j < sequence.len_k; ++j) {
          for (std::int64_t i = first; i < last; ++i) {
            const bool seen = pair(sequence, h, i, j);
            const int said = kind[static_cast<std::size_t>(j)];
            if ((said == 2 && !seen) || (said == 0 && seen)) {
              return where + ", head " + std::to_string(h) + ": pair (" + std::to_string(i) + ", " + std::to_string(j) + ") lies in kind " + std::to_string(said);
            }
          }
        }
      }
      // Bits, from aligned and odd places, beyond both ends.
      for (const std::int64_t start : {0, 1, 31, 32}) {
        for (std::int64_t j0 = start; j0 < sequence.len_k + 70; j0 += 64) {
          const int rows = static_cast<int>(std::min<std::int64_t>(sequence.len_q, 5)) + 2;
          for (std::int64_t i0 = 0; i0 < sequence.len_q; i0 += 5) {
            std::vector<std::uint64_t> words(static_cast<std::size_t>(rows), 0xdeadbeef);
            layout.bits(s, h, i0, rows, j0, words.data());
            for (int r = 0; r < rows; ++r) {
              for (std::int64_t b = 0; b < 64; ++b) {
                const std::int64_t i = i0 + r, j = j0 + b;
                const bool seen = i < sequence.len_q && j < sequence.len_k && pair(sequence, h, i, j);
                if (((words[static_cast<std::size_t>(r)] >> b & 1) != 0) != seen) {
                  return where + ", head " + std::to_string(h) + ": bit (" + std::to_string(i) + ", " + std::to_string(j) + ") from j0 " + std::to_string(j0);
                }
              }
            }
          }
        }
      }
    }
  }
  if (std::any_of(query_owners.begin(), query_owners.end(), [](int n) { return n != 1; })) return "a query row without an owner, or with two";
  if (std::any_of(key_owners.begin(), key_owners.end(), [](int n) { return n != 1; })) return "a key row without an owner, or with two";
  return "";
}

void expect_truth(const Formula& formula, const PlanShape& shape) {
  Layout layout;
  const Status status = layout.build(formula.mask, shape);
  ASSERT_TRUE(status.ok()) << formula.text << ": " << status.message();
  EXPECT_EQ(first_lie(layout, formula), "") << formula.text;
}

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max(), kLeast = std::numeric_limits<std::int64_t>::min();

TEST(Mask, Default) {
  expect_truth({}, {2, 3, 25, 70});
  expect_truth({}, {1, 1, 0, 70});
  expect_truth({}, {1, 1, 25, 0});
  expect_truth({}, {0, 1, 25, 25});
}

TEST(Mask, Causal) {
  for (const auto& [len_q, len_k] : {std::pair{37, 37}, {5, 130}, {130, 5}, {1, 64}, {12, 12}, {24, 0}, {0, 24}}) {
    const PlanShape shape{2, 2, len_q, len_k};
    expect_truth(make_causal(std::nullopt), shape);
    for (const std::int64_t offset : {std::int64_t{0}, std::int64_t{-3}, std::int64_t{64}, std::int64_t{-500}, kMost, kLeast}) {
      if (offset == kMost || offset == kLeast) {
        // The formula would overflow: all or nothing is what it comes to.
        expect_truth({causal(offset), [=](const At&) { return offset > 0; }, "causal at an end of int64", {}, {}}, shape);
      } else {
        expect_truth(make_causal(offset), shape);
      }
    }
  }
}

TEST(Mask, Window) {
  for (const auto& [len_q, len_k] : {std::pair{70, 70}, {20, 150}, {90, 40}}) {
    for (const std::int64_t left : {-1, 0, 1, 11, 12, 64, 1000}) {
      for (const std::int64_t right : {-1, 0, 5, 40}) {
        expect_truth(make_window(left, right, std::nullopt), {1, 1, len_q, len_k});
        expect_truth(make_window(left, right, -7), {1, 1, len_q, len_k});
      }
    }
  }
}

TEST(Mask, WindowOfExtremeNumbers) {
  const PlanShape shape{1, 1, 30, 30};
  const Formula all{window(kMost, kMost), [](const At&) { return true; }, "window without end", {}, {}};
  expect_truth(all, shape);
  // The offset and the left side cancel: key i and later.
  const Formula from_i{window(kMost, -1, kMost), [](const At& at) { return at.j >= at.i; }, "window that cancels", {}, {}};
  expect_truth(from_i, shape);
  // Sums that pass the ends of int64: offset + right above, offset - left below.
  const Formula from_i_on{window(kMost, kMost, kMost), [](const At& at) { return at.j >= at.i; }, "window past the upper end", {}, {}};
  expect_truth(from_i_on, shape);
  const Formula before_i{window(kMost, kMost, kLeast), [](const At& at) { return at.j < at.i; }, "window past the lower end", {}, {}};
  expect_truth(before_i, shape);
  const Formula none{window(0, 0, kMost), [](const At&) { return false; }, "window out of sight", {}, {}};
  expect_truth(none, shape);
}

TEST(Mask, KeyLengths) {
  expect_truth(make_lengths({0, 70, 33}), {3, 2, 15, 70});
  expect_truth(both(make_causal(std::nullopt), make_lengths({0, 70, 33})), {3, 2, 15, 70});
  expect_truth(either(make_causal(0), make_lengths({0, 70, 33})), {3, 2, 15, 70});
  expect_truth(both(make_lengths({10, 70, 33}), make_lengths({20, 5, 33})), {3, 1, 15, 70});
}

TEST(Mask, Documents) {
  const std::vector<std::int64_t> cu_q{0, 5, 5, 30, 43}, cu_k{0, 17, 40, 40, 100};
  const PlanShape shape{2, 1, 50, 110};
  expect_truth(packed(cu_q, cu_k, {}), shape);
  expect_truth(packed(cu_q, cu_k, make_causal(std::nullopt)), shape);
  expect_truth(packed(cu_q, cu_k, both(make_window(3, 2, std::nullopt), make_lengths({60, 110}))), shape);
  expect_truth(packed({0}, {0}, make_causal(0)), shape);
  // Under | and ~ it is a mask like any other, in the tensors' coordinates.
  expect_truth(inverse(make_documents(cu_q, cu_k)), shape);
  expect_truth(either(make_documents(cu_q, cu_k), make_causal(0)), shape);
  expect_truth(either(make_documents(cu_q, cu_k), make_lengths({7, 109})), shape);
}

TEST(Mask, SecondDocumentsCountInTheFirst) {
  const std::vector<std::int64_t> outer_q{0, 20, 45}, outer_k{0, 40, 90}, inner_q{0, 7, 20}, inner_k{0, 13, 31};
  expect_truth(packed(outer_q, outer_k, make_documents(inner_q, inner_k)), {1, 1, 50, 100});
}

// A random tensor whose axes in `broadcast` (a bit each) have size 1; `expanded` of those keep the full size with stride 0.
std::shared_ptr<Bytes> random_bytes(const PlanShape& shape, unsigned broadcast, bool expanded, unsigned seed, int hidden_of_8) {
  std::mt19937 random(seed);
  const Shape full{shape.batch, shape.heads, shape.len_q, shape.len_k};
  auto made = std::make_shared<Bytes>();
  Shape sizes = full;
  for (std::size_t axis = 0; axis < 4; ++axis) {
    if ((broadcast >> axis & 1) != 0) sizes[axis] = std::min<std::int64_t>(full[axis], 1);
  }
  made->bytes.resize(static_cast<std::size_t>(sizes[0] * sizes[1] * sizes[2] * sizes[3]) + 1);
  // In runs, so that some tiles are full and some absent. Any byte but 0 is true.
  unsigned char value = 1;
  for (unsigned char& byte : made->bytes) {
    if (random() % 40 == 0) value = static_cast<int>(random() % 8) < hidden_of_8 ? 0 : static_cast<unsigned char>(1u << random() % 8);
    byte = value;
  }
  made->view = TensorView::bhsd(made->bytes.data(), DType::kBool, sizes[0], sizes[1], sizes[2], sizes[3]);
  if (expanded) {
    for (std::size_t axis = 0; axis < 4; ++axis) {
      if (sizes[axis] == 1 && full[axis] > 1) made->view.shape[axis] = full[axis], made->view.strides[axis] = 0;
    }
  }
  return made;
}

TEST(Mask, TensorOfEveryBroadcastShape) {
  const PlanShape shape{2, 3, 29, 150};
  for (unsigned broadcast = 0; broadcast < 16; ++broadcast) {
    for (const bool expanded : {false, true}) {
      const auto bytes = random_bytes(shape, broadcast, expanded, broadcast, 4);
      expect_truth(make_tensor(bytes, "tensor " + std::to_string(broadcast)), shape);
      expect_truth(packed({0, 9, 29}, {0, 77, 149}, make_tensor(bytes, "tensor " + std::to_string(broadcast))), shape);
    }
  }
}

TEST(Mask, DocumentsOfOneLengthAreToldApart) {
  // By what a tensor holds at their places.
  const PlanShape shape{1, 1, 28, 140};
  expect_truth(packed({0, 14, 28}, {0, 70, 140}, make_tensor(random_bytes(shape, 0, false, 5, 4), "tensor")), shape);
  // By their offsets: both have 5 keys left, of 5 and of 25.
  expect_truth(packed({0, 10, 20}, {0, 5, 30}, both(make_causal(std::nullopt), make_lengths({10}))), {1, 1, 20, 30});
}

TEST(Mask, TensorOfAnyStrides) {
  const PlanShape shape{2, 3, 20, 70};
  const auto straight = random_bytes(shape, 0, false, 7, 3);
  // Keys backwards.
  auto backwards = std::make_shared<Bytes>(*straight);
  backwards->view.data = backwards->bytes.data() + 69;
  backwards->view.strides[3] = -1;
  expect_truth(make_tensor(backwards, "keys backwards"), shape);
  // Rows innermost, batch and heads exchanged.
  auto turned = std::make_shared<Bytes>(*straight);
  turned->view.data = turned->bytes.data();
  turned->view.strides = {20 * 70, 2 * 20 * 70, 1, 20};
  expect_truth(make_tensor(turned, "transposed"), shape);
}

TEST(Mask, TensorIsReadAtEachPlan) {
  const PlanShape shape{1, 1, 20, 70};
  const auto bytes = random_bytes(shape, 0, false, 3, 4);
  const Formula formula = make_tensor(bytes, "tensor");
  Layout layout;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(layout.build(formula.mask, shape).ok());
    EXPECT_EQ(first_lie(layout, formula), "");
    for (unsigned char& byte : bytes->bytes) byte = byte == 0 ? 1 : 0;
  }
}

TEST(Mask, ComposedWithTheDefault) {
  const PlanShape shape{1, 1, 20, 30};
  EXPECT_TRUE((Mask() & Mask()).hides_nothing());
  EXPECT_TRUE((causal() | Mask()).hides_nothing());
  EXPECT_TRUE((Mask() | causal()).hides_nothing());
  expect_truth(both({}, make_causal(0)), shape);
  expect_truth(both(make_causal(0), {}), shape);
  expect_truth(inverse({}), shape);
  expect_truth(inverse(inverse(make_causal(0))), shape);
  expect_truth(both(make_causal(0), inverse({})), shape);
}

TEST(Mask, HugeExpressionIsRefused) {
  Mask many = causal(), doubled = causal();
  for (int n = 0; n < 100000; ++n) many = many & window(n, 0);
  for (int n = 0; n < 60; ++n) doubled = doubled | doubled;
  Layout layout;
  for (const Mask& mask : {many, doubled}) {
    const Status status = layout.build(mask & causal(), {1, 1, 20, 20});
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("expression"), std::string::npos) << status.message();
  }
  Mask some = causal();
  for (int n = 0; n < 300; ++n) some = some | window(n, 0);
  EXPECT_TRUE(layout.build(some, {1, 1, 20, 20}).ok());
}

// ---- random expressions

// Evenly over the whole range from the first case on; shrinks towards `low`.
std::int64_t between(std::int64_t low, std::int64_t high) { return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high + 1)); }

std::vector<std::int64_t> any_bounds(std::size_t entries, std::int64_t rows) {
  std::vector<std::int64_t> bounds(entries);
  for (std::size_t n = 1; n < entries; ++n) bounds[n] = between(0, rows);
  std::sort(bounds.begin(), bounds.end());
  return bounds;
}

Formula any_documents(const PlanShape& shape) {
  const auto entries = static_cast<std::size_t>(between(1, 6));
  const auto cu_q = any_bounds(entries, shape.len_q);
  return make_documents(cu_q, any_bounds(entries, shape.len_k));
}

Formula any_lengths(const PlanShape& shape) {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(shape.batch));
  for (std::int64_t& length : lengths) length = between(0, shape.len_k);
  return make_lengths(lengths);
}

std::optional<std::int64_t> any_offset() {
  if (between(0, 1) == 0) return std::nullopt;
  return between(-200, 200);
}

// `under_and`: only & stands above, so that documents would cut the sequences.
Formula any_formula(const PlanShape& shape, int depth, bool under_and) {
  switch (between(0, depth == 0 ? 5 : 9)) {
    case 0: return make_causal(any_offset());
    case 1: {
      const std::int64_t left = between(-1, 100), right = between(-1, 100);
      return make_window(left, right, any_offset());
    }
    case 2: return any_lengths(shape);
    case 3: return under_and ? make_causal(std::nullopt) : any_documents(shape);
    case 4: {
      const auto broadcast = static_cast<unsigned>(between(0, 15)), seed = static_cast<unsigned>(between(0, 1000));
      const bool expanded = between(0, 1) != 0;
      const auto hidden = static_cast<int>(between(0, 8));
      return make_tensor(random_bytes(shape, broadcast, expanded, seed, hidden),
                         "random_bytes(" + std::to_string(broadcast) + ", " + std::to_string(expanded) + ", " + std::to_string(seed) + ", " + std::to_string(hidden) + ")");
    }
    case 5: return {};
    case 6: return inverse(any_formula(shape, depth - 1, false));
    case 7: {
      const Formula a = any_formula(shape, depth - 1, false);
      return either(a, any_formula(shape, depth - 1, false));
    }
    default: {
      const Formula a = any_formula(shape, depth - 1, under_and);
      return both(a, any_formula(shape, depth - 1, under_and));
    }
  }
}

RC_GTEST_PROP(MaskProperty, AnyExpressionTellsTheTruth, ()) {
  const PlanShape shape{between(1, 3), between(1, 3), between(0, 40), between(0, 140)};
  const bool cut = between(0, 2) == 0;
  Formula formula = any_formula(shape, 3, !cut);
  if (cut) {
    const auto entries = static_cast<std::size_t>(between(1, 5));
    const auto cu_q = any_bounds(entries, shape.len_q);
    formula = packed(cu_q, any_bounds(entries, shape.len_k), formula);
  }
  RC_LOG() << formula.text << " on batch " << shape.batch << ", heads " << shape.heads << ", len_q " << shape.len_q << ", len_k " << shape.len_k;
  static Layout layout;  // reused, as calls do
  const Status status = layout.build(formula.mask, shape);
  if (!status.ok()) RC_FAIL(status.message());
  const std::string lie = first_lie(layout, formula);
  if (!lie.empty()) RC_FAIL(lie);
}

}  // namespace
}  // namespace regard
