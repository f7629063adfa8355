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
    case GgufType::kQ8_0: return {32, 34};
    case GgufType::kQ6_K: return {256, 210};
  }
  throw std::runtime_error("tensors of type " + std::to_string(static_cast<std::uint32_t>(type)) +
                           " are not served; expected F32, F16, BF16, Q8_0, Q4_0, Q4_1 or Q6_K");
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

void q8_0(const std::uint8_t* in, float* out) {
  const float scale = from_half(two_bytes(in));
  for (int i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(static_cast<std::int8_t>(in[2 + i])) * scale;
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
      case GgufType::kQ8_0: q8_0(in, to); break;
      case GgufType::kQ6_K: q6_k(in, to); break;
    }
  }
}

}  // namespace regard::formats
