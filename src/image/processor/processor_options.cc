// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "files/atomic_file.h"
#include "regard/image/processor.h"

namespace regard::image {
namespace {

using nlohmann::json;

constexpr std::array<double, 3> kHalf{0.5, 0.5, 0.5};
constexpr std::array<double, 3> kImageNetMean{0.485, 0.456, 0.406};
constexpr std::array<double, 3> kImageNetStd{0.229, 0.224, 0.225};
constexpr std::array<const char*, 4> kFilters{"nearest", "lanczos", "bilinear", "bicubic"};
constexpr std::int64_t kMostEdge = 32'768;

[[noreturn]] void fail(const std::string& name, const json& given, const std::string& expected) {
  throw std::invalid_argument(name + ": " + given.dump() + "; expected " + expected);
}

// What each of transformers' processors does when nothing is said.
ProcessorOptions defaults_of(const json& config) {
  const char* key =
      config.contains("image_processor_type") ? "image_processor_type" : "feature_extractor_type";
  if (!config.contains(key)) return {};
  std::string type = config[key].is_string() ? config[key].get<std::string>() : "";
  for (const std::string ending : {"FeatureExtractor", "ImageProcessorFast", "ImageProcessor"}) {
    if (!type.ends_with(ending)) continue;
    type.resize(type.size() - ending.size());
    break;
  }
  ProcessorOptions options;
  options.type = type + "ImageProcessor";
  if (type == "ViT") return options;
  if (type == "DeiT") {
    options.size = {256, 256};
    options.resample = "bicubic";
    options.center_crop = true;
    return options;
  }
  if (type == "Detr") {
    options.size = {};
    options.shortest_edge = 800;
    options.longest_edge = 1333;
    options.mean = kImageNetMean;
    options.std = kImageNetStd;
    return options;
  }
  fail(key, config[key], "ViTImageProcessor, DeiTImageProcessor or DetrImageProcessor");
}

const json* given(const json& config, const char* name) {
  const auto found = config.find(name);
  return found == config.end() || found->is_null() ? nullptr : &*found;
}

void read(const json& config, const char* name, bool& value) {
  const json* found = given(config, name);
  if (found == nullptr) return;
  if (!found->is_boolean()) fail(name, *found, "true or false");
  value = found->get<bool>();
}

std::int64_t edge(const std::string& name, const json& value) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < 1 ||
      value.get<std::int64_t>() > kMostEdge) {
    fail(name, value, "a whole number from 1 to " + std::to_string(kMostEdge));
  }
  return value.get<std::int64_t>();
}

// One number, [height, width], or {"height": ..., "width": ...}.
ImageSize height_and_width(const std::string& name, const json& value) {
  if (value.is_number()) return {edge(name, value), edge(name, value)};
  if (value.is_array() && value.size() == 2) return {edge(name, value[0]), edge(name, value[1])};
  if (!value.is_object() || !value.contains("height") || !value.contains("width")) {
    fail(name, value, "\"height\" and \"width\"");
  }
  return {edge(name + ".height", value["height"]), edge(name + ".width", value["width"])};
}

void read_size(const json& config, ProcessorOptions& options) {
  const json* found = given(config, "size");
  if (found == nullptr) return;
  options.shortest_edge = options.longest_edge = 0;
  options.size = {};
  const bool by_edge = options.type == "DetrImageProcessor";  // what one number means there
  if (found->is_object() && found->contains("shortest_edge")) {
    options.shortest_edge = edge("size.shortest_edge", (*found)["shortest_edge"]);
    if (const json* longest = given(*found, "longest_edge")) {
      options.longest_edge = edge("size.longest_edge", *longest);
    }
  } else if (by_edge && found->is_number()) {
    options.shortest_edge = edge("size", *found);
    const json* longest = given(config, "max_size");
    options.longest_edge = longest != nullptr ? edge("max_size", *longest) : 1333;
  } else {
    options.size = height_and_width("size", *found);
  }
}

void read_resample(const json& config, ProcessorOptions& options) {
  const json* found = given(config, "resample");
  if (found == nullptr) return;
  for (std::size_t i = 0; i < kFilters.size(); ++i) {
    if (*found == i) {
      options.resample = kFilters[i];
      return;
    }
  }
  fail("resample", *found, "0 (nearest), 1 (lanczos), 2 (bilinear) or 3 (bicubic)");
}

void read_colours(const json& config, const char* name, double least,
                  std::array<double, 3>& value) {
  const json* found = given(config, name);
  if (found == nullptr) return;
  bool good = found->is_number() || (found->is_array() && found->size() == 3);
  for (std::size_t i = 0; good && i < 3; ++i) {
    const json& number = found->is_array() ? (*found)[i] : *found;
    good = number.is_number() && number.get<double>() >= least;
    if (good) value[i] = number.get<double>();
  }
  if (!good) fail(name, *found, "three numbers from " + std::to_string(least));
}

}  // namespace

ProcessorOptions processor_options(const json& config) {
  if (!config.is_object()) throw std::invalid_argument("not a JSON object");
  ProcessorOptions options = defaults_of(config);
  read(config, "do_resize", options.resize);
  read_size(config, options);
  read_resample(config, options);
  read(config, "do_center_crop", options.center_crop);
  if (const json* crop = given(config, "crop_size")) {
    options.crop = height_and_width("crop_size", *crop);
  }
  read(config, "do_rescale", options.rescale);
  if (const json* factor = given(config, "rescale_factor")) {
    if (!factor->is_number()) fail("rescale_factor", *factor, "a number");
    options.rescale_factor = factor->get<double>();
  }
  read(config, "do_normalize", options.normalize);
  read_colours(config, "image_mean", -1e6, options.mean);
  read_colours(config, "image_std", 1e-6, options.std);
  // Settings that nothing here has: served only as they are when nothing is said.
  if (const json* offset = given(config, "do_flip_channel_order")) {
    if (*offset != false) fail("do_flip_channel_order", *offset, "false");
  }
  return options;
}

json to_json(const ProcessorOptions& options) {
  json config = {{"image_processor_type", options.type},
                 {"do_resize", options.resize},
                 {"do_center_crop", options.center_crop},
                 {"crop_size", {{"height", options.crop.height}, {"width", options.crop.width}}},
                 {"do_rescale", options.rescale},
                 {"rescale_factor", options.rescale_factor},
                 {"do_normalize", options.normalize},
                 {"image_mean", options.mean},
                 {"image_std", options.std}};
  config["resample"] =
      std::find(kFilters.begin(), kFilters.end(), options.resample) - kFilters.begin();
  if (options.shortest_edge > 0) {
    config["size"] = {{"shortest_edge", options.shortest_edge}};
    if (options.longest_edge > 0) config["size"]["longest_edge"] = options.longest_edge;
  } else {
    config["size"] = {{"height", options.size.height}, {"width", options.size.width}};
  }
  return config;
}

ProcessorOptions read_processor(const std::filesystem::path& folder) {
  const auto path = folder / "preprocessor_config.json";
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  const json config = json::parse(file, nullptr, /*allow_exceptions=*/false);
  try {
    return processor_options(config);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

void write_processor(const std::filesystem::path& folder, const ProcessorOptions& options) {
  files::write_file(folder / "preprocessor_config.json", to_json(options).dump(2) + "\n");
}

}  // namespace regard::image
