// SPDX-License-Identifier: Apache-2.0
// Files of named tensors in the safetensors format (https://github.com/huggingface/safetensors):
// eight bytes of header length (little endian), a JSON header, the tensors' bytes.
//
// A file is checked whole before a tensor of it is handed out: the header's size against the
// file's, every dtype, shape and offset, that tensors neither overlap nor leave gaps, and that
// nothing is left over. Errors are std::runtime_error with the file's name and what is wrong.
#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <string>

namespace regard::nn {

struct TensorFile {
  std::map<std::string, torch::Tensor> tensors;  // contiguous, on the CPU
  std::map<std::string, std::string> metadata;   // the header's "__metadata__"
};

// dtypes: F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL.
TensorFile read_safetensors(const std::filesystem::path& path);

// Replaces the file at once or not at all: written under another name in the same folder, flushed
// to the disk, renamed. Tensors may lie anyhow in memory; they must be dense, on the CPU.
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace regard::nn
