// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "files/atomic_file.h"

namespace regard::nn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the format is little endian");

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // as the format's own library has it
constexpr std::size_t kMostDims = 64;                    // of a tensor in PyTorch

struct Named {
  const char* name;
  torch::ScalarType dtype;
};
constexpr std::array<Named, 10> kDtypes{{{"F64", torch::kFloat64},
                                         {"F32", torch::kFloat32},
                                         {"F16", torch::kFloat16},
                                         {"BF16", torch::kBFloat16},
                                         {"I64", torch::kInt64},
                                         {"I32", torch::kInt32},
                                         {"I16", torch::kInt16},
                                         {"I8", torch::kInt8},
                                         {"U8", torch::kUInt8},
                                         {"BOOL", torch::kBool}}};

// One tensor of a header, checked by itself.
struct Entry {
  std::string name;
  torch::ScalarType dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

std::optional<std::uint64_t> whole(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path), file_(path, std::ios::binary) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(path, error);
    if (error) fail("cannot be read: " + error.message());
    if (!file_) fail("cannot be read");
    size_ = size;
  }

  TensorFile read() {
    const json header = read_header();
    TensorFile result;
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__")
        result.metadata = metadata(value);
      else
        entries.push_back(entry(name, value));
    }
    check_extent(entries);
    for (const Entry& e : entries) result.tensors.emplace(e.name, tensor(e));
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(path_.string() + ": " + what);
  }
  [[noreturn]] void fail(const std::string& name, const std::string& what) const {
    fail("tensor \"" + name + "\": " + what);
  }

  json read_header() {
    std::uint64_t length = 0;
    if (size_ < sizeof(length))
      fail("truncated: " + std::to_string(size_) + " bytes, too few for a safetensors file");
    file_.read(reinterpret_cast<char*>(&length), sizeof(length));
    if (length > kMostHeaderBytes)
      fail("not a safetensors file: a header of " + std::to_string(length) + " bytes");
    if (length > size_ - sizeof(length))
      fail("truncated: the header has " + std::to_string(length) + " bytes, the file " +
           std::to_string(size_));
    std::string text(length, '\0');
    file_.read(text.data(), static_cast<std::streamsize>(length));
    if (!file_) fail("cannot be read");
    data_begin_ = sizeof(length) + length;
    // Every name once: with two of a name, which one counts would depend on the reader.
    std::vector<std::string> names;
    bool twice = false, deep = false;
    const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
      deep |= depth > 3;
      if (depth == 1 && event == json::parse_event_t::key)
        names.push_back(parsed.get<std::string>());
      return !deep;
    };
    json header = json::parse(text, watch, /*allow_exceptions=*/false);
    if (deep || header.is_discarded() || !header.is_object())
      fail("not a safetensors file: its header is not a JSON object of tensors");
    std::sort(names.begin(), names.end());
    twice = std::adjacent_find(names.begin(), names.end()) != names.end();
    if (twice) fail("its header names a tensor twice");
    return header;
  }

  std::map<std::string, std::string> metadata(const json& value) const {
    if (!value.is_object()) fail("__metadata__ is not an object of texts");
    std::map<std::string, std::string> result;
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail("__metadata__ is not an object of texts");
      result[key] = text.get<std::string>();
    }
    return result;
  }

  Entry entry(const std::string& name, const json& value) const {
    const auto has = [&](const char* key) { return value.is_object() && value.contains(key); };
    if (!has("dtype") || !has("shape") || !has("data_offsets") || value.size() != 3)
      fail(name, "expected dtype, shape and data_offsets");
    Entry result{name, torch::kFloat32, {}, 0, 0};
    const auto* dtype = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Named& known) {
      return value["dtype"] == known.name;
    });
    if (dtype == kDtypes.end()) fail(name, "dtype " + value["dtype"].dump() + " is not served");
    result.dtype = dtype->dtype;
    const json& shape = value["shape"];
    if (!shape.is_array() || shape.size() > kMostDims) fail(name, "its shape is not one");
    std::uint64_t bytes = torch::elementSize(result.dtype);
    for (const json& size : shape) {
      const auto n = whole(size);
      if (!n || *n > std::numeric_limits<std::int64_t>::max()) fail(name, "its shape is not one");
      if (*n != 0 && bytes > std::numeric_limits<std::int64_t>::max() / *n)
        fail(name, "its shape " + shape.dump() + " is too large");
      bytes *= *n;
      result.shape.push_back(static_cast<std::int64_t>(*n));
    }
    const json& offsets = value["data_offsets"];
    const auto begin = offsets.is_array() && offsets.size() == 2 ? whole(offsets[0]) : std::nullopt;
    const auto end = begin ? whole(offsets[1]) : std::nullopt;
    if (!end || *begin > *end) fail(name, "data_offsets " + offsets.dump() + " are none");
    if (*end > size_ - data_begin_)
      fail(name, "truncated: it ends at byte " + std::to_string(*end) + " of " +
                     std::to_string(size_ - data_begin_));
    if (*end - *begin != bytes)
      fail(name, "shape " + shape.dump() + " of " + dtype->name + " takes " +
                     std::to_string(bytes) + " bytes, its data_offsets hold " +
                     std::to_string(*end - *begin));
    result.begin = *begin;
    result.end = *end;
    return result;
  }

  void check_extent(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::uint64_t at = 0;
    for (const Entry& e : entries) {
      if (e.begin < at) fail(e.name, "it overlaps another tensor");
      if (e.begin > at) fail(e.name, "bytes before it belong to no tensor");
      at = e.end;
    }
    if (at != size_ - data_begin_)
      fail(std::to_string(size_ - data_begin_ - at) + " bytes at its end belong to no tensor");
  }

  torch::Tensor tensor(const Entry& e) {
    torch::Tensor result = torch::empty(e.shape, torch::dtype(e.dtype));
    file_.seekg(static_cast<std::streamoff>(data_begin_ + e.begin));
    file_.read(static_cast<char*>(result.data_ptr()),
               static_cast<std::streamsize>(e.end - e.begin));
    if (!file_) fail(e.name, "cannot be read");
    if (e.dtype == torch::kBool) {
      const auto* bytes = static_cast<const std::uint8_t*>(result.data_ptr());
      if (std::any_of(bytes, bytes + result.numel(), [](std::uint8_t b) { return b > 1; }))
        fail(e.name, "a bool is neither 0 nor 1");
    }
    return result;
  }

  fs::path path_;
  std::ifstream file_;
  std::uint64_t size_ = 0, data_begin_ = 0;
};

}  // namespace

TensorFile read_safetensors(const fs::path& path) { return Reader(path).read(); }

void write_safetensors(const fs::path& path, const TensorFile& file) {
  json header = json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  // Large elements first, so that every tensor is aligned to its own.
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    if (name == "__metadata__" || !tensor.defined() || !tensor.device().is_cpu() ||
        tensor.layout() != torch::kStrided)
      throw std::invalid_argument("tensor \"" + name + "\": expected a dense tensor on the CPU");
    tensors.emplace_back(name, tensor.detach().contiguous());
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  std::uint64_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto* dtype = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Named& known) {
      return known.dtype == tensor.scalar_type();
    });
    if (dtype == kDtypes.end())
      throw std::invalid_argument("tensor \"" + name + "\": safetensors has no dtype " +
                                  torch::toString(tensor.scalar_type()));
    const std::uint64_t end = at + tensor.nbytes();
    header[name] = {
        {"dtype", dtype->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string bytes = header.dump();
  bytes.append((8 - bytes.size() % 8) % 8, ' ');
  const std::uint64_t length = bytes.size();
  files::AtomicFile out(path);
  out.write(&length, sizeof(length));
  out.write(bytes);
  for (const auto& [name, tensor] : tensors) out.write(tensor.data_ptr(), tensor.nbytes());
  out.commit();
}

}  // namespace regard::nn
