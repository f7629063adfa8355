// SPDX-License-Identifier: Apache-2.0
// `process_images JOBS OUT`: a JSON list of [folder, [file, ...]] -> what the processor of each
// folder makes of the pictures, as safetensors; "error.N" instead of what fails, in the metadata.
// Each folder's settings are also written again, to its subfolder "again".
#include <exception>
#include <fstream>
#include <iostream>

#include "regard/image/processor.h"
#include "regard/nn/safetensors.h"

namespace {

void process(const nlohmann::json& job, const std::string& number, regard::nn::TensorFile& out) {
  const std::filesystem::path folder = job[0].get<std::string>();
  const auto options = regard::image::read_processor(folder);
  std::vector<regard::image::Image> images;
  for (const auto& file : job[1])
    images.push_back(regard::image::read_image(file.get<std::string>()));
  const auto batch = regard::image::process(images, options);
  const auto first =
      regard::image::processed_size({images.at(0).height, images.at(0).width}, options);
  out.tensors["values." + number] = batch.values;
  out.tensors["mask." + number] = batch.mask;
  out.tensors["size." + number] = torch::tensor({first.height, first.width});
  std::filesystem::create_directories(folder / "again");
  regard::image::write_processor(folder / "again", options);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "process_images JOBS.json OUT.safetensors\n";
    return 2;
  }
  std::ifstream in(argv[1]);
  const auto jobs = nlohmann::json::parse(in);
  regard::nn::TensorFile out;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    try {
      process(jobs[i], std::to_string(i), out);
    } catch (const std::exception& error) {
      out.metadata["error." + std::to_string(i)] = error.what();
    }
  }
  regard::nn::write_safetensors(argv[2], out);
}
