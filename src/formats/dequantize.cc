// SPDX-License-Identifier: Apache-2.0
// From blocks of quantized numbers to float32. A block's layout is the format's: see each function.
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "regard/formats/gguf.h"

namespace regard::formats {
namespace {

struct Block {
  std::int64_t numbers, bytes;
};

Block block_of(GgufType type) {
  switch (type) {
    case GgufType::kF32: return {1, 4};
    case GgufType::kF16: return {1, 2};
    case GgufType::kBF16: return {1, 2};
    case GgufType::kQ4_0: return {32, 18};
    case GgufType::kQ4_1: return {32, 20};
    case GgufType::kQ5_0: return {32, 22};
    case GgufType::kQ5_1: return {32, 24};
    case GgufType::kQ8_0: return {32, 34};
    case GgufType::kQ4_K: return {256, 144};
    case GgufType::kQ5_K: return {256, 176};
    case GgufType::kQ6_K: return {256, 210};
  }
  throw std::runtime_error("tensors of type " + std::to_string(static_cast<std::uint32_t>(type)) +
                           " are not served; expected " + kServedGgufTypes);
}

std::uint16_t two_bytes(const std::uint8_t* p) {
  return static_cast<std::uint16_t>(p[0] | p[1] << 8);
}

float from_half(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
  const std::uint32_t exponent = h >> 10 & 0x1F, fraction = h & 0x3FF;
  if (exponent == 0) {  // zero and what is below the smallest normal number
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

// A scale and 32 halves of bytes: the lower halves are the first 16 numbers, less 8.
void q4_0(const std::uint8_t* in, float* out) {
  const float scale = from_half(two_bytes(in));
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((in[2 + i] & 15) - 8) * scale;
    out[i + 16] = static_cast<float>((in[2 + i] >> 4) - 8) * scale;
  }
}

// The same, with a smallest number instead of the 8.
void q4_1(const std::uint8_t* in, float* out) {
  const float scale = from_half(two_bytes(in)), least = from_half(two_bytes(in + 2));
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(in[4 + i] & 15) * scale + least;
    out[i + 16] = static_cast<float>(in[4 + i] >> 4) * scale + least;
  }
}

// Number `i` of 32 that have their lower four bits in halves of bytes, as above, and the fifth in
// 4 bytes, bit `i` of them.
int five_bits(const std::uint8_t* word, const std::uint8_t* halves, int i) {
  const int low = i < 16 ? halves[i] & 15 : halves[i - 16] >> 4;
  return low | (word[i / 8] >> (i % 8) & 1) << 4;
}

void q5_0(const std::uint8_t* in, float* out) {
  const float scale = from_half(two_bytes(in));
  for (int i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(five_bits(in + 2, in + 6, i) - 16) * scale;
  }
}

void q5_1(const std::uint8_t* in, float* out) {
  const float scale = from_half(two_bytes(in)), least = from_half(two_bytes(in + 2));
  for (int i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(five_bits(in + 4, in + 8, i)) * scale + least;
  }
}

void q8_0(const std::uint8_t* in, float* out) {
  const float scale = from_half(two_bytes(in));
  for (int i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(static_cast<std::int8_t>(in[2 + i])) * scale;
  }
}

// Of 256 numbers, 32 together have a scale and a least number, six bits each, in 12 bytes. Groups 0
// to 3: the lower six bits of bytes 0 to 3 and 4 to 7. Groups 4 to 7: their lower four bits are the
// halves of bytes 8 to 11, their upper two those that bytes 0 to 3 and 4 to 7 have left.
struct Group {
  int scale, least;
};
Group group_of(const std::uint8_t* in, int group) {
  if (group < 4) return {in[group] & 63, in[group + 4] & 63};
  return {(in[group + 4] & 15) | (in[group - 4] >> 6) << 4, (in[group + 4] >> 4) | (in[group] >> 6)
                                                                                       << 4};
}

// 256 numbers: a scale and one for the least numbers, the groups above, a bit of each number in 32
// bytes where there are five (`fifth`), and four bits in 128, of two groups in the same 32.
void four_or_five_k(const std::uint8_t* in, const std::uint8_t* fifth, const std::uint8_t* low,
                    float* out) {
  const float scale = from_half(two_bytes(in)), least = from_half(two_bytes(in + 2));
  for (int group = 0; group < 8; ++group) {
    const Group own = group_of(in + 4, group);
    const float step = scale * static_cast<float>(own.scale);
    const float under = least * static_cast<float>(own.least);
    for (int i = 0; i < 32; ++i) {
      int number = low[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
      if (fifth != nullptr) number |= (fifth[i] >> group & 1) << 4;
      out[group * 32 + i] = step * static_cast<float>(number) - under;
    }
  }
}

// 256 numbers of six bits: four in 128 bytes, two in 64; a signed scale for each 16; one for all.
void q6_k(const std::uint8_t* in, float* out) {
  const std::uint8_t *low = in, *high = in + 128;
  const auto* scales = reinterpret_cast<const std::int8_t*>(in + 192);
  const float scale = from_half(two_bytes(in + 208));
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 128; ++i) {
      const int quarter = i / 32, lane = i % 32;
      const int nibble = low[half * 64 + (quarter % 2) * 32 + lane] >> (quarter / 2 * 4) & 15;
      const int bits = high[half * 32 + lane] >> (quarter * 2) & 3;
      const int number = half * 128 + i;
      out[number] = scale * static_cast<float>(scales[number / 16]) *
                    static_cast<float>((nibble | bits << 4) - 32);
    }
  }
}

}  // namespace

const char* const kServedGgufTypes =
    "F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1, Q6_K, Q5_K or Q4_K";

std::int64_t stored_bytes(GgufType type, std::int64_t count) {
  const Block block = block_of(type);
  if (count % block.numbers != 0) {
    throw std::runtime_error(std::to_string(count) + " numbers are not whole blocks of " +
                             std::to_string(block.numbers));
  }
  return count / block.numbers * block.bytes;
}

void dequantize(GgufType type, std::span<const std::uint8_t> data, std::span<float> out) {
  const Block block = block_of(type);
  const auto size = static_cast<std::int64_t>(data.size());
  if (stored_bytes(type, static_cast<std::int64_t>(out.size())) != size) {
    throw std::invalid_argument("dequantize: " + std::to_string(size) + " bytes do not hold " +
                                std::to_string(out.size()) + " numbers");
  }
  const std::uint8_t* in = data.data();
  float* to = out.data();
  for (std::int64_t i = 0; i < size / block.bytes; ++i, in += block.bytes, to += block.numbers) {
    switch (type) {
      case GgufType::kF32: std::memcpy(to, in, 4); break;
      case GgufType::kF16: *to = from_half(two_bytes(in)); break;
      case GgufType::kBF16:
        *to = std::bit_cast<float>(static_cast<std::uint32_t>(two_bytes(in)) << 16);
        break;
      case GgufType::kQ4_0: q4_0(in, to); break;
      case GgufType::kQ4_1: q4_1(in, to); break;
      case GgufType::kQ5_0: q5_0(in, to); break;
      case GgufType::kQ5_1: q5_1(in, to); break;
      case GgufType::kQ8_0: q8_0(in, to); break;
      case GgufType::kQ4_K: four_or_five_k(in, nullptr, in + 16, to); break;
      case GgufType::kQ5_K: four_or_five_k(in, in + 16, in + 48, to); break;
      case GgufType::kQ6_K: q6_k(in, to); break;
    }
  }
}

}  // namespace regard::formats
