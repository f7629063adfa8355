// SPDX-License-Identifier: Apache-2.0
#include "regard/formats/gguf.h"

#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "formats/mapped_file.h"

namespace regard::formats {

static_assert(std::endian::native == std::endian::little, "GGUF is read as little endian");

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMostDims = 4;  // what the format allows
constexpr int kDeepestArray = 4;        // arrays in arrays
constexpr std::uint64_t kMostNumbers = std::uint64_t{1} << 48;

// Reads one thing after the other; whatever would lie beyond the end is an error.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  template <typename T>
  T number() {
    T value;
    need(sizeof value, "a number");
    std::memcpy(&value, bytes_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }

  std::string string() {
    const auto length = number<std::uint64_t>();
    need(length, "a string");
    const auto* start = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += length;
    return {start, static_cast<std::size_t>(length)};
  }

 private:
  void need(std::uint64_t size, const char* what) const {
    if (size > left()) {
      throw std::runtime_error("cut off: byte " + std::to_string(position_) + " begins " + what +
                               " of " + std::to_string(size) + " bytes, and the file has " +
                               std::to_string(bytes_.size()));
    }
  }

  std::span<const std::uint8_t> bytes_;
  std::uint64_t position_ = 0;
};

// A metadata value; the numbers of its types are the format's.
Json value(Reader& in, std::uint32_t type, int depth = 0) {
  switch (type) {
    case 0: return in.number<std::uint8_t>();
    case 1: return in.number<std::int8_t>();
    case 2: return in.number<std::uint16_t>();
    case 3: return in.number<std::int16_t>();
    case 4: return in.number<std::uint32_t>();
    case 5: return in.number<std::int32_t>();
    case 6: return in.number<float>();
    case 7: return in.number<std::uint8_t>() != 0;
    case 8: return in.string();
    case 9: {
      if (depth == kDeepestArray) throw std::runtime_error("arrays lie too deep in each other");
      const auto inner = in.number<std::uint32_t>();
      const auto count = in.number<std::uint64_t>();
      if (count > in.left()) {  // every entry takes a byte at least
        throw std::runtime_error("an array of " + std::to_string(count) +
                                 " entries goes beyond the file's end");
      }
      Json list = Json::array();
      for (std::uint64_t i = 0; i < count; ++i) list.push_back(value(in, inner, depth + 1));
      return list;
    }
    case 10: return in.number<std::uint64_t>();
    case 11: return in.number<std::int64_t>();
    case 12: return in.number<double>();
    default: throw std::runtime_error("a value has the unknown type " + std::to_string(type));
  }
}

bool is_served(std::uint32_t type) {
  switch (static_cast<GgufType>(type)) {
    case GgufType::kF32:
    case GgufType::kF16:
    case GgufType::kQ4_0:
    case GgufType::kQ4_1:
    case GgufType::kQ5_0:
    case GgufType::kQ5_1:
    case GgufType::kQ8_0:
    case GgufType::kQ4_K:
    case GgufType::kQ5_K:
    case GgufType::kQ6_K:
    case GgufType::kBF16: return true;
  }
  return false;
}

struct Entry {
  GgufTensor tensor;
  std::uint64_t offset = 0;  // from where the data begins
};

Entry read_entry(Reader& in, const std::string& name) {
  Entry entry;
  const auto dims = in.number<std::uint32_t>();
  if (dims > kMostDims) {
    throw std::runtime_error("tensor '" + name + "' has " + std::to_string(dims) + " dims");
  }
  std::uint64_t count = 1;
  for (std::uint32_t d = 0; d < dims; ++d) {
    const auto size = in.number<std::uint64_t>();
    if (size > kMostNumbers || (size != 0 && count > kMostNumbers / size)) {
      throw std::runtime_error("tensor '" + name + "' has a dim of " + std::to_string(size));
    }
    count *= size;
    entry.tensor.shape.insert(entry.tensor.shape.begin(), static_cast<std::int64_t>(size));
  }
  entry.tensor.type = static_cast<GgufType>(in.number<std::uint32_t>());
  entry.offset = in.number<std::uint64_t>();
  return entry;
}

}  // namespace

std::int64_t GgufTensor::count() const {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) product *= size;
  return product;
}

struct GgufFile::Impl {
  explicit Impl(const std::filesystem::path& file) : path(file.string()), mapped(file) {}

  void read() {
    Reader in(mapped.bytes());
    constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
    if (mapped.bytes().size() < 24 || in.number<std::uint32_t>() != kMagic) {
      throw std::runtime_error("not a GGUF file");
    }
    const auto version = in.number<std::uint32_t>();
    if (version != 2 && version != 3) {
      throw std::runtime_error("GGUF version " + std::to_string(version) +
                               "; expected 2 or 3, little endian");
    }
    const auto tensor_count = in.number<std::uint64_t>();
    const auto value_count = in.number<std::uint64_t>();
    for (std::uint64_t i = 0; i < value_count; ++i) {
      const std::string key = in.string();
      const auto type = in.number<std::uint32_t>();
      metadata[key] = value(in, type);
    }
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < tensor_count; ++i) {
      order.push_back(in.string());
      entries.push_back(read_entry(in, order.back()));
    }
    place(entries, in.position());
  }

  // Checks where the tensors' bytes lie, and takes them.
  void place(std::vector<Entry>& entries, std::uint64_t header) {
    std::uint64_t alignment = 32;
    if (const auto found = metadata.find("general.alignment"); found != metadata.end()) {
      alignment = found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
      if (alignment == 0 || alignment > (1u << 20) || !std::has_single_bit(alignment)) {
        throw std::runtime_error("general.alignment is " + found->dump());
      }
    }
    const std::uint64_t begin = (header + alignment - 1) / alignment * alignment;
    const std::uint64_t size = mapped.bytes().size();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      Entry& entry = entries[i];
      const std::string& name = order[i];
      if (is_served(static_cast<std::uint32_t>(entry.tensor.type))) {
        std::uint64_t bytes = 0;
        try {
          bytes = static_cast<std::uint64_t>(stored_bytes(entry.tensor.type, entry.tensor.count()));
        } catch (const std::runtime_error& error) {
          throw std::runtime_error("tensor '" + name + "': " + error.what());
        }
        if (begin > size || entry.offset > size - begin || bytes > size - begin - entry.offset) {
          throw std::runtime_error("cut off: tensor '" + name + "' ends at byte " +
                                   std::to_string(begin + entry.offset + bytes) +
                                   ", and the file has " + std::to_string(size));
        }
        entry.tensor.data = mapped.bytes().subspan(begin + entry.offset, bytes);
      }
      if (!tensors.emplace(name, std::move(entry.tensor)).second) {
        throw std::runtime_error("two tensors are named '" + name + "'");
      }
    }
  }

  std::string path;
  MappedFile mapped;
  Json metadata = Json::object();
  std::vector<std::string> order;
  std::map<std::string, GgufTensor> tensors;
};

GgufFile::GgufFile(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  auto impl = std::make_shared<Impl>(path);
  try {
    impl->read();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
  return GgufFile(std::move(impl));
}

const Json& GgufFile::metadata() const { return impl_->metadata; }
std::vector<std::string> GgufFile::names() const { return impl_->order; }
bool GgufFile::contains(const std::string& name) const { return impl_->tensors.contains(name); }

const GgufTensor& GgufFile::tensor(const std::string& name) const {
  const auto found = impl_->tensors.find(name);
  if (found == impl_->tensors.end()) {
    throw std::runtime_error(impl_->path + ": no tensor '" + name + "'");
  }
  const auto type = static_cast<std::uint32_t>(found->second.type);
  if (!is_served(type)) {
    throw std::runtime_error(impl_->path + ": tensor '" + name + "' has type " +
                             std::to_string(type) + "; expected " + kServedGgufTypes);
  }
  return found->second;
}

std::vector<float> GgufFile::read(const std::string& name) const {
  const GgufTensor& found = tensor(name);
  std::vector<float> out(static_cast<std::size_t>(found.count()));
  dequantize(found.type, found.data, out);
  return out;
}

}  // namespace regard::formats
