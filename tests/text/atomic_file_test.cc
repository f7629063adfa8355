// SPDX-License-Identifier: Apache-2.0
#include "files/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::files {
namespace {

using test::message_of;
using test::says;
using test::TemporaryFolder;

std::string read(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(AtomicFile, WithoutACommitTheOldFileStays) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  {
    AtomicFile file(folder / "file");
    file.write("new, half wri");
    EXPECT_EQ(read(folder / "file"), "old");
  }
  EXPECT_EQ(read(folder / "file"), "old");
  EXPECT_FALSE(std::filesystem::exists(folder / "file.tmp"));
  write_file(folder / "file", "new");
  EXPECT_EQ(read(folder / "file"), "new");
}

TEST(AtomicFile, ADiskThatTakesNoMoreLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string said = message_of([&] { write_file(folder / "file", std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_TRUE(says(said, "cannot write " + (folder / "file").string() + ": File too large"));
  EXPECT_EQ(read(folder / "file"), "old");
  EXPECT_FALSE(std::filesystem::exists(folder / "file.tmp"));
}

TEST(AtomicFile, NamesAFolderThatIsNotThere) {
  EXPECT_TRUE(says(message_of([] { write_file("/nowhere/file", ""); }),
                   "/nowhere/file.tmp: No such file or directory"));
}

}  // namespace
}  // namespace regard::files
