// SPDX-License-Identifier: Apache-2.0
// What test_gguf.py drives: writes the numbers of a file's tensors, one after the other, to a file,
// and the metadata and the tensors' names, shapes and types as JSON.
#include <fstream>
#include <iostream>

#include "regard/formats/gguf.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "gguf_program FILE.gguf NUMBERS\n";
    return 2;
  }
  try {
    const auto file = regard::formats::GgufFile::open(argv[1]);
    std::ofstream numbers(argv[2], std::ios::binary);
    nlohmann::json tensors = nlohmann::json::array();
    for (const std::string& name : file.names()) {
      const auto& tensor = file.tensor(name);
      const std::vector<float> read = file.read(name);
      numbers.write(reinterpret_cast<const char*>(read.data()),
                    static_cast<std::streamsize>(read.size() * sizeof(float)));
      tensors.push_back({name, tensor.shape, static_cast<std::uint32_t>(tensor.type)});
    }
    const nlohmann::json answer = {{"metadata", file.metadata()}, {"tensors", tensors}};
    std::cout << answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
