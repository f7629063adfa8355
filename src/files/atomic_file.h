// SPDX-License-Identifier: Apache-2.0
// Files that are either whole or absent: written under another name, forced to the disk, and then
// renamed. A process that is killed, or a disk that fills up, leaves the old file as it was.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace regard::files {

// Collects writes into `path` + ".tmp"; commit() puts the file in its place. Without a commit the
// destructor removes what was written. Every error is a std::runtime_error that names the file and
// says what the system said.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

// The whole of `bytes` as the file `path`, atomically.
void write_file(const std::filesystem::path& path, std::string_view bytes);

// Forces a folder's entries (new names, renames) to the disk.
void sync_folder(const std::filesystem::path& folder);

}  // namespace regard::files
