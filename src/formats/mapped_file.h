// SPDX-License-Identifier: Apache-2.0
// A file's bytes, mapped into memory for reading.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace regard::formats {

class MappedFile {
 public:
  // std::runtime_error, with the file's name and the system's reason.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace regard::formats
