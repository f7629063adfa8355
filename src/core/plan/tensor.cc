// SPDX-License-Identifier: Apache-2.0
// A boolean tensor, kept as bits: one bit for each byte that exists, broadcast axes unexpanded.
#include <bit>
#include <cstring>
#include <string>

#include "core/check_view.h"
#include "core/plan/interval_list.h"

namespace regard {
namespace plan {
namespace {

// The truth of 8 bytes as 8 bits, lowest address in the lowest bit. Any value but 0 is true.
std::uint64_t pack_8(const unsigned char* bytes) {
  std::uint64_t x;
  std::memcpy(&x, bytes, 8);
  if constexpr (std::endian::native == std::endian::big) x = __builtin_bswap64(x);
  x |= x >> 4;
  x |= x >> 2;
  x |= x >> 1;
  // Each byte's lowest bit holds its truth; the product collects the eight in the top byte.
  return ((x & 0x0101010101010101u) * 0x0102040810204080u) >> 56;
}

std::uint64_t pack_64(const unsigned char* bytes, std::int64_t stride, std::int64_t count) {
  std::uint64_t word = 0;
  std::int64_t key = 0;
  if (stride == 1) {
    for (; key + 8 <= count; key += 8) word |= pack_8(bytes + key) << key;
  }
  for (; key < count; ++key) word |= std::uint64_t{bytes[key * stride] != 0} << key;
  return word;
}

class TensorMask final : public MaskNode {
 public:
  explicit TensorMask(const TensorView& view) : view_(view) {}

  Status check(const PlanShape& shape) const override {
    Status status = check_view("mask tensor", view_);
    if (!status.ok()) return status;
    if (view_.dtype != DType::kBool) {
      return Status::invalid(std::string("mask tensor: dtype ") + name_of(view_.dtype) +
                             "; expected bool, true where attended");
    }
    const Shape full{shape.batch, shape.heads, shape.len_q, shape.len_k};
    if (broadcasts(view_.shape, full)) return status;
    return Status::invalid("mask tensor: shape " + text(view_.shape) +
                           " does not broadcast to (batch, heads, len_q, len_k) " + text(full));
  }

  std::shared_ptr<const MaskNode> bind(const PlanShape&) const override {
    auto bound = std::make_shared<TensorMask>(view_);
    bound->pack();
    return bound;
  }

  void intervals(const MaskContext& context, std::int64_t i0, std::int64_t i1,
                 std::vector<Interval>& out) const override {
    const std::int64_t len_k = context.sequence->len_k;
    const std::uint64_t* first = row(context, i0);
    const std::int64_t rows = row_step_ == 0 ? 1 : i1 - i0;
    for (std::int64_t j0 = 0; j0 < len_k; j0 += 64) {
      std::uint64_t any = 0, all = ~std::uint64_t{0};
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::uint64_t word = word_at(first + r * row_step_, context.sequence->k_begin + j0);
        any |= word;
        all &= word;
      }
      for (std::int64_t j = j0; j < std::min(j0 + 64, len_k); j += kKeyUnit) {
        const std::int64_t end = std::min(j + kKeyUnit, len_k);
        const std::uint64_t unit = range_bits(j, end, j0);
        if ((any & unit) != 0) append(out, j, end, (all & unit) == unit);
      }
    }
  }

  std::uint64_t bits(const MaskContext& context, std::int64_t i, std::int64_t j0) const override {
    return word_at(row(context, i), context.sequence->k_begin + j0);
  }

  bool varies_by_head() const override { return extent(1) > 1; }
  bool varies_by_batch() const override { return extent(0) > 1; }
  bool varies_by_position() const override { return extent(2) > 1 || extent(3) > 1; }

 private:
  // Entries along an axis that differ in memory: an expanded axis has one.
  std::int64_t extent(std::size_t axis) const {
    return view_.strides[axis] == 0 ? std::min<std::int64_t>(view_.shape[axis], 1)
                                    : view_.shape[axis];
  }

  void pack() {
    const Shape sizes{extent(0), extent(1), extent(2), extent(3)};
    one_key_ = sizes[3] <= 1;
    // A word more than the keys need, so that a word may be read from any key.
    const std::int64_t words = (sizes[3] + 63) / 64 + 1;
    words_.assign(static_cast<std::size_t>(sizes[0] * sizes[1] * sizes[2] * words), 0);
    row_step_ = sizes[2] > 1 ? words : 0;
    head_step_ = sizes[1] > 1 ? sizes[2] * words : 0;
    batch_step_ = sizes[0] > 1 ? sizes[1] * sizes[2] * words : 0;
    std::uint64_t* out = words_.data();
    const auto* bytes = static_cast<const unsigned char*>(view_.data);
    for (std::int64_t b = 0; b < sizes[0]; ++b) {
      for (std::int64_t h = 0; h < sizes[1]; ++h) {
        for (std::int64_t i = 0; i < sizes[2]; ++i, out += words) {
          const unsigned char* line =
              bytes + b * view_.strides[0] + h * view_.strides[1] + i * view_.strides[2];
          for (std::int64_t j = 0; j < sizes[3]; j += 64) {
            out[j / 64] = pack_64(line + j * view_.strides[3], view_.strides[3],
                                  std::min<std::int64_t>(sizes[3] - j, 64));
          }
        }
      }
    }
  }

  const std::uint64_t* row(const MaskContext& context, std::int64_t i) const {
    return words_.data() + context.sequence->batch * batch_step_ + context.head * head_step_ +
           (context.sequence->q_begin + i) * row_step_;
  }

  // The bits of 64 keys from `key` on, a key of the tensor.
  std::uint64_t word_at(const std::uint64_t* line, std::int64_t key) const {
    if (one_key_) return (line[0] & 1) != 0 ? ~std::uint64_t{0} : 0;
    const std::uint64_t* words = line + key / 64;
    const int shift = static_cast<int>(key % 64);
    return shift == 0 ? words[0] : words[0] >> shift | words[1] << (64 - shift);
  }

  TensorView view_;
  // Below: only in the copy that bind() makes.
  std::vector<std::uint64_t> words_;
  std::int64_t batch_step_ = 0, head_step_ = 0,
               row_step_ = 0;  // in words, 0 on axes that broadcast
  bool one_key_ = false;
};

}  // namespace
}  // namespace plan

Mask tensor(TensorView allowed) { return Mask(std::make_shared<plan::TensorMask>(allowed)); }

}  // namespace regard
