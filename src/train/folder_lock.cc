// SPDX-License-Identifier: Apache-2.0
#include "train/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace regard::train {

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const auto file = folder / ".training.lock";
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw std::runtime_error("cannot write " + file.string() + ": " + std::strerror(errno));
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(descriptor_);
    if (error == EWOULDBLOCK) {
      throw std::runtime_error("another process is training in " + folder.string());
    }
    throw std::runtime_error("cannot lock " + file.string() + ": " + std::strerror(error));
  }
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace regard::train
