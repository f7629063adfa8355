// SPDX-License-Identifier: Apache-2.0
// GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): the metadata and the
// tensors of a language model in one file, the weights often quantized in small blocks.
//
//   auto file = regard::formats::GgufFile::open("model.gguf");
//   std::string kind = file.metadata().at("general.architecture").get<std::string>();
//   std::vector<float> weights = file.read("token_embd.weight");
//
// The file is mapped, not copied, and checked whole before a tensor of it is handed out: every
// count, length and offset against the file's size. Errors are std::runtime_error with the file's
// name and what is wrong.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace regard::formats {

// How a tensor's numbers are stored, by the numbers of the format. A block of a type named _0 or _1
// holds 32 numbers, one of a type named _K 256.
enum class GgufType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgufTensor {
  std::vector<std::int64_t> shape;  // slowest axis first, as PyTorch says it
  GgufType type;
  std::span<const std::uint8_t> data;  // in the mapped file

  std::int64_t count() const;  // of numbers
};

class GgufFile {
 public:
  // Versions 2 and 3, little endian. Tensors of another type than GgufType's are refused by name
  // when they are asked for.
  static GgufFile open(const std::filesystem::path& path);

  // Keys with dots, as they stand in the file; arrays are JSON arrays.
  const nlohmann::json& metadata() const;

  std::vector<std::string> names() const;  // in the file's order
  bool contains(const std::string& name) const;
  // std::runtime_error where there is no such tensor, or its type is not served.
  const GgufTensor& tensor(const std::string& name) const;

  // A tensor's numbers as float32, row after row.
  std::vector<float> read(const std::string& name) const;

 private:
  struct Impl;
  explicit GgufFile(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// The numbers of `data`, whole blocks of `type`, as float32. `out` has room for all of them.
void dequantize(GgufType type, std::span<const std::uint8_t> data, std::span<float> out);

// "F32, F16, ...": what GgufType has, for messages.
extern const char* const kServedGgufTypes;

// Bytes that `count` numbers take; std::runtime_error where they are not whole blocks.
std::int64_t stored_bytes(GgufType type, std::int64_t count);

}  // namespace regard::formats
