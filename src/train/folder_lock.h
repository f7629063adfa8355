// SPDX-License-Identifier: Apache-2.0
// One training at a time in a folder. The lock goes with the process, however that ends.
#pragma once

#include <filesystem>

namespace regard::train {

class FolderLock {
 public:
  // std::runtime_error if another process has it, or the folder cannot be written to.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace regard::train
