// SPDX-License-Identifier: Apache-2.0
#include "train/average_precision.h"

#include <algorithm>
#include <limits>

namespace regard::train {
namespace {

constexpr double kOverlap = 0.5;
constexpr std::size_t kMostFound = 100;
constexpr int kRecalls = 101;

double overlap(const CocoObject& a, const CocoObject& b) {
  const double wide = std::min(a.x + a.width, b.x + b.width) - std::max(a.x, b.x);
  const double high = std::min(a.y + a.height, b.y + b.height) - std::max(a.y, b.y);
  if (wide <= 0 || high <= 0) return 0;
  return wide * high / (a.width * a.height + b.width * b.height - wide * high);
}

struct Judged {
  double score;
  bool right;
};

// The best found objects of an image first; each takes the object that it overlaps most, of those
// that none before it took.
void judge(const std::vector<CocoObject>& objects, std::vector<FoundObject> found,
           std::vector<Judged>& judged) {
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  if (found.size() > kMostFound) found.resize(kMostFound);
  std::vector<bool> taken(objects.size());
  for (const FoundObject& one : found) {
    double best = kOverlap - 1e-10;
    std::size_t which = objects.size();
    for (std::size_t i = 0; i < objects.size(); ++i) {
      const double shared = taken[i] ? 0 : overlap(one.object, objects[i]);
      if (shared >= best && !taken[i]) {
        best = shared;
        which = i;
      }
    }
    if (which < objects.size()) taken[which] = true;
    judged.push_back({one.score, which < objects.size()});
  }
}

double precision_over_recalls(std::vector<Judged> judged, double objects) {
  std::stable_sort(judged.begin(), judged.end(),
                   [](const Judged& a, const Judged& b) { return a.score > b.score; });
  std::vector<double> recalls, precisions;
  double right = 0;
  for (std::size_t i = 0; i < judged.size(); ++i) {
    right += judged[i].right ? 1 : 0;
    recalls.push_back(right / objects);
    precisions.push_back(right / static_cast<double>(i + 1));
  }
  for (std::size_t i = precisions.size(); i-- > 1;)
    precisions[i - 1] = std::max(precisions[i - 1], precisions[i]);
  double sum = 0;
  for (int i = 0; i < kRecalls; ++i) {
    const double recall = static_cast<double>(i) / (kRecalls - 1);
    const auto at = std::lower_bound(recalls.begin(), recalls.end(), recall) - recalls.begin();
    if (at < static_cast<std::ptrdiff_t>(recalls.size()))
      sum += precisions[static_cast<std::size_t>(at)];
  }
  return sum / kRecalls;
}

}  // namespace

double average_precision(const CocoSet& set, const std::vector<std::vector<FoundObject>>& found) {
  double sum = 0;
  std::int64_t categories = 0;
  for (std::size_t category = 0; category < set.names.size(); ++category) {
    const auto of_this = [&](const CocoObject& object) {
      return object.category == static_cast<std::int64_t>(category);
    };
    std::vector<Judged> judged;
    std::size_t all = 0;
    for (std::size_t i = 0; i < set.images.size(); ++i) {
      std::vector<CocoObject> objects;
      std::vector<FoundObject> mine;
      for (const CocoObject& object : set.images[i].objects)
        if (of_this(object)) objects.push_back(object);
      for (const FoundObject& one : found[i])
        if (of_this(one.object)) mine.push_back(one);
      all += objects.size();
      judge(objects, std::move(mine), judged);
    }
    if (all == 0) continue;
    sum += precision_over_recalls(std::move(judged), static_cast<double>(all));
    ++categories;
  }
  return categories > 0 ? sum / static_cast<double>(categories)
                        : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace regard::train
