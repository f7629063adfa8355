#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "regard/nn/safetensors.h"

namespace regard::nn {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* what) {
  throw std::runtime_error(path.string() + ": " + what + ": " +
                           std::system_category().message(errno));
}

// A descriptor that is closed, and a file that is removed, unless all went well.
class NewFile {
 public:
  explicit NewFile(fs::path path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail(path_, "cannot be written");
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!kept_) ::unlink(path_.c_str());
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(path_, "cannot be written");
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  void replace(const fs::path& target) {
    if (::fsync(descriptor_) != 0) fail(path_, "cannot be flushed to the disk");
    if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "cannot be closed");
    if (::rename(path_.c_str(), target.c_str()) != 0) fail(target, "cannot be replaced");
    kept_ = true;
  }

 private:
  fs::path path_;
  int descriptor_ = -1;
  bool kept_ = false;
};

// The renaming itself must reach the disk, too.
void flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(folder, "cannot be opened");
  const bool flushed = ::fsync(descriptor) == 0 || errno == EINVAL;  // not every system can
  ::close(descriptor);
  if (!flushed) fail(folder, "cannot be flushed to the disk");
}

}  // namespace

void write_atomically(const fs::path& path, std::string_view bytes) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::string name(".");
  name.append(path.filename().string()).append(".new-").append(std::to_string(::getpid()));
  NewFile file(folder / name);
  file.write(bytes);
  file.replace(path);
  flush_folder(folder);
}

}  // namespace regard::nn
