// SPDX-License-Identifier: Apache-2.0
#include "regard/train/coco.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace regard::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kOverEdge = 1;  // pixels: annotators' tools round

// A part of the file, with errors that say where it is.
class CocoPart {
 public:
  CocoPart(const fs::path& file, std::string where, const json& value)
      : file_(file), where_(std::move(where)), value_(value) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(file_.string() + ": " + where_ + (where_.empty() ? "" : ": ") + what);
  }
  const json& field(const char* name) const {
    const auto found = value_.is_object() ? value_.find(name) : value_.end();
    if (!value_.is_object() || found == value_.end())
      fail("\"" + std::string(name) + "\" is missing");
    return *found;
  }
  std::int64_t whole(const char* name, std::int64_t least) const {
    const json& found = field(name);
    if (!found.is_number_integer() || found.get<std::int64_t>() < least)
      fail("\"" + std::string(name) + "\" is " + found.dump() + "; expected a whole number from " +
           std::to_string(least));
    return found.get<std::int64_t>();
  }
  std::string text(const char* name) const {
    const json& found = field(name);
    if (!found.is_string() || found.get<std::string>().empty())
      fail("\"" + std::string(name) + "\" is " + found.dump() + "; expected a text");
    return found.get<std::string>();
  }
  std::vector<CocoPart> list(const char* name) const {
    const json& found = field(name);
    if (!found.is_array()) fail("\"" + std::string(name) + "\" is no list");
    std::vector<CocoPart> parts;
    for (std::size_t i = 0; i < found.size(); ++i)
      parts.emplace_back(file_, std::string(name) + "[" + std::to_string(i) + "]", found[i]);
    return parts;
  }
  bool flagged(const char* name) const {
    const auto found = value_.find(name);
    return found != value_.end() && found->is_number() && found->get<double>() != 0;
  }

 private:
  const fs::path& file_;
  std::string where_;
  const json& value_;
};

CocoObject object_of(const CocoPart& part, const CocoImage& image) {
  const json& box = part.field("bbox");
  bool good = box.is_array() && box.size() == 4;
  for (std::size_t i = 0; good && i < 4; ++i) good = box[i].is_number();
  if (!good) part.fail("\"bbox\" is " + box.dump() + "; expected [x, y, width, height]");
  double x = box[0], y = box[1], width = box[2], height = box[3];
  const auto wide = static_cast<double>(image.width), high = static_cast<double>(image.height);
  if (!(width > 0 && height > 0))
    part.fail("\"bbox\" is " + box.dump() + "; expected a width and a height above 0");
  if (!(x >= -kOverEdge && y >= -kOverEdge && x + width <= wide + kOverEdge &&
        y + height <= high + kOverEdge))
    part.fail("\"bbox\" " + box.dump() + " is outside of image " + std::to_string(image.id) +
              ", which is " + std::to_string(image.width) + " x " + std::to_string(image.height));
  const double right = std::min(x + width, wide), bottom = std::min(y + height, high);
  x = std::max(x, 0.0);
  y = std::max(y, 0.0);
  if (!(right > x && bottom > y))
    part.fail("\"bbox\" " + box.dump() + " has nothing inside of its image");
  return {0, x, y, right - x, bottom - y};
}

// FNV-1a: tells data apart, no more.
std::uint64_t hashed(const std::string& text, std::uint64_t hash = 14695981039346656037U) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

}  // namespace

CocoSet read_coco(const fs::path& annotations, const fs::path& folder) {
  std::ifstream in(annotations, std::ios::binary);
  if (!in) throw std::runtime_error(annotations.string() + ": cannot be read");
  const json parsed = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) throw std::runtime_error(annotations.string() + ": not a JSON object");
  const CocoPart whole(annotations, "", parsed);
  if (!fs::is_directory(folder)) throw std::runtime_error(folder.string() + ": not a folder");

  std::map<std::int64_t, std::string> categories;
  for (const CocoPart& part : whole.list("categories"))
    if (!categories.emplace(part.whole("id", 0), part.text("name")).second)
      part.fail("its id comes twice");
  if (categories.empty()) whole.fail("\"categories\" is empty");
  CocoSet set;
  std::map<std::int64_t, std::int64_t> numbers;
  for (const auto& [id, name] : categories) {
    numbers[id] = static_cast<std::int64_t>(set.names.size());
    set.names.push_back(name);
  }
  std::map<std::int64_t, std::size_t> places;
  for (const CocoPart& part : whole.list("images")) {
    CocoImage image{part.whole("id", 0),
                    folder / part.text("file_name"),
                    part.whole("width", 1),
                    part.whole("height", 1),
                    {}};
    if (!places.emplace(image.id, set.images.size()).second) part.fail("its id comes twice");
    if (!fs::is_regular_file(image.file)) part.fail(image.file.string() + " is not there");
    set.images.push_back(std::move(image));
  }
  if (set.images.empty()) whole.fail("\"images\" is empty");
  for (const CocoPart& part : whole.list("annotations")) {
    const auto place = places.find(part.whole("image_id", 0));
    if (place == places.end())
      part.fail("there is no image " + std::to_string(part.whole("image_id", 0)));
    const auto number = numbers.find(part.whole("category_id", 0));
    if (number == numbers.end())
      part.fail("there is no category " + std::to_string(part.whole("category_id", 0)));
    if (part.flagged("iscrowd")) continue;
    CocoImage& image = set.images[place->second];
    image.objects.push_back(object_of(part, image));
    image.objects.back().category = number->second;
  }
  set.fingerprint = hashed(parsed.dump());
  return set;
}

}  // namespace regard::train
