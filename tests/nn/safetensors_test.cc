// SPDX-License-Identifier: Apache-2.0
// Files of tensors: what is written is read again, and what is damaged is refused.
#include "regard/nn/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <rapidcheck/gtest.h>
#include <fstream>

namespace regard::nn {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("regard_nn_" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const char* name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string file_of(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + data;
}

TensorFile some() {
  return {{{"a", torch::arange(6, torch::kFloat32).reshape({2, 3})},
           {"b.c", torch::tensor({true, false, true})},
           {"d", torch::arange(4, torch::kInt64)},
           {"empty", torch::empty({0, 3}, torch::kBFloat16)},
           {"scalar", torch::tensor(2.5, torch::kFloat64)}},
          {{"format", "pt"}}};
}

std::string error_of(const std::string& bytes) {
  const Folder folder;
  put(folder / "x.safetensors", bytes);
  try {
    read_safetensors(folder / "x.safetensors");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const Folder folder;
  write_safetensors(folder / "x.safetensors", some());
  const TensorFile read = read_safetensors(folder / "x.safetensors");
  const TensorFile expected = some();
  EXPECT_EQ(read.metadata, expected.metadata);
  ASSERT_EQ(read.tensors.size(), expected.tensors.size());
  for (const auto& [name, tensor] : expected.tensors) {
    EXPECT_EQ(read.tensors.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(torch::equal(read.tensors.at(name), tensor)) << name;
  }
}

TEST(Safetensors, StridesDoNotMatter) {
  const Folder folder;
  const torch::Tensor turned = torch::arange(6, torch::kFloat32).reshape({2, 3}).t();
  write_safetensors(folder / "x.safetensors", {{{"a", turned}}, {}});
  EXPECT_TRUE(torch::equal(read_safetensors(folder / "x.safetensors").tensors.at("a"), turned));
}

TEST(Safetensors, NothingIsLeftBesideTheFile) {
  const Folder folder;
  write_safetensors(folder / "x.safetensors", some());
  write_safetensors(folder / "x.safetensors", some());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(Safetensors, AFileThatCannotBeReplacedStays) {
  const Folder folder;
  fs::create_directories(folder / "x.safetensors" / "inside");
  EXPECT_THROW(write_safetensors(folder / "x.safetensors", some()), std::runtime_error);
  EXPECT_TRUE(fs::is_directory(folder / "x.safetensors"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

struct Hostile {
  const char* header;
  std::size_t data;
  const char* message;
};

TEST(Safetensors, HostileHeadersAreRefusedByName) {
  const Hostile cases[] = {
      {"[]", 0, "not a JSON object"},
      {"{", 0, "not a JSON object"},
      {R"({"a":3})", 0, "expected dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
      {R"({"a":{"dtype":3,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "its shape is not one"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "its shape is not one"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,4]}})", 4,
       "too large"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "too large"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "takes 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "are none"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", 4,
       "truncated"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "are none"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "overlaps"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "belong to no tensor"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 9, "5 bytes at its end"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "twice"},
      {R"({"__metadata__":3})", 0, "__metadata__"},
      {R"({"__metadata__":{"a":3}})", 0, "__metadata__"},
  };
  for (const Hostile& hostile : cases) {
    const std::string error = error_of(file_of(hostile.header, std::string(hostile.data, '\0')));
    EXPECT_NE(error.find(hostile.message), std::string::npos) << hostile.header << "\n" << error;
    EXPECT_NE(error.find("x.safetensors"), std::string::npos) << error;
  }
}

TEST(Safetensors, DeepNestingIsRefused) {
  const std::string deep(100'000, '[');
  EXPECT_NE(error_of(file_of(deep, "")).find("not a JSON object"), std::string::npos);
  EXPECT_NE(error_of(file_of("{\"a\":" + deep, "")).find("not a JSON object"), std::string::npos);
}

TEST(Safetensors, AHeaderLargerThanTheFileIsRefused) {
  const std::uint64_t huge = ~std::uint64_t{0}, large = 1000;
  const auto head = [](std::uint64_t n) {
    return std::string(reinterpret_cast<const char*>(&n), sizeof(n));
  };
  EXPECT_NE(error_of(head(huge)).find("not a safetensors file"), std::string::npos);
  EXPECT_NE(error_of(head(large) + "{}").find("truncated"), std::string::npos);
  EXPECT_NE(error_of("abc").find("truncated"), std::string::npos);
}

TEST(Safetensors, ABoolIsZeroOrOne) {
  const std::string error =
      error_of(file_of(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02"));
  EXPECT_NE(error.find("a bool"), std::string::npos) << error;
}

// Whatever is done to a file: it is read, or refused with an error; never more.
RC_GTEST_PROP(Safetensors, MutationsAreReadOrRefused, ()) {
  const Folder folder;
  write_safetensors(folder / "x.safetensors", some());
  std::string bytes = bytes_of(folder / "x.safetensors");
  const auto changes = *rc::gen::inRange(1, 5);
  for (int i = 0; i < changes && !bytes.empty(); ++i) {
    const auto at = *rc::gen::inRange<std::size_t>(0, bytes.size());
    switch (*rc::gen::inRange(0, 4)) {
      case 0: bytes[at] = static_cast<char>(*rc::gen::inRange(0, 256)); break;
      case 1: bytes.resize(at); break;
      case 2: bytes.insert(at, 1, static_cast<char>(*rc::gen::inRange(0, 256))); break;
      default: bytes.erase(at, 1); break;
    }
  }
  put(folder / "x.safetensors", bytes);
  try {
    for (const auto& [name, tensor] : read_safetensors(folder / "x.safetensors").tensors)
      RC_ASSERT(tensor.nbytes() <= bytes.size());
  } catch (const std::runtime_error& error) {
    RC_ASSERT(std::string(error.what()).find("x.safetensors") != std::string::npos);
  }
}

}  // namespace
}  // namespace regard::nn
