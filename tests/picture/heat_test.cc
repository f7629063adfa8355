// SPDX-License-Identifier: Apache-2.0
#include "picture/heat.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/messages.h"

namespace regard::picture {
namespace {

using test::message_of;
using test::says;

image::Image grey(std::int64_t width, std::int64_t height) {
  return {width, height,
          std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height), 128)};
}

image::Image read(const std::string& png) {
  return image::decode_image({reinterpret_cast<const std::uint8_t*>(png.data()), png.size()},
                             "heat.png");
}

TEST(Heat, ShowsTheImageAndWhereTheWeightsAre) {
  const image::Image made = read(heat_png(grey(8, 4), {2, 4, {0, 0, 0, 4, 1, 0, 0, 0}}));
  const std::int64_t width = (made.width - 16) / 2;  // of each picture
  EXPECT_EQ(made.height, 320);
  EXPECT_EQ(width, 640);
  EXPECT_EQ(*made.at(10, 10), 128);  // the image itself, at the left
  const auto cell = [&](std::int64_t row, std::int64_t column) {
    return made.at(width + 16 + column * width / 4 + 40, row * made.height / 2 + 40);
  };
  EXPECT_GT(cell(0, 3)[0], 150);  // the greatest weight is bright, and yellow
  EXPECT_GT(cell(0, 3)[1], 150);
  EXPECT_LT(cell(0, 3)[2], 120);
  EXPECT_LT(cell(0, 0)[0], 70);  // none is the dark image
  EXPECT_EQ(cell(0, 0)[0], cell(0, 0)[2]);
  EXPECT_GT(cell(1, 0)[0], cell(0, 0)[0]);
}

TEST(Heat, LargeImagesKeepTheirSize) {
  EXPECT_EQ(read(heat_png(grey(400, 330), {1, 1, {1}})).height, 330);
}

TEST(Heat, AMapOfNothingIsDark) { EXPECT_NO_THROW(heat_png(grey(5, 5), {1, 2, {0, 0}})); }

TEST(Heat, RefusesWhatIsNoMap) {
  EXPECT_TRUE(says(message_of([] { heat_png(grey(5, 5), {2, 2, {1, 2, 3}}); }), "rows x columns"));
  EXPECT_TRUE(says(message_of([] { heat_png(grey(5, 5), {1, 1, {NAN}}); }), "finite"));
  EXPECT_TRUE(says(message_of([] { heat_png(grey(5, 5), {1, 1, {-1}}); }), "from 0"));
  EXPECT_TRUE(says(message_of([] { heat_png({}, {1, 1, {1}}); }), "no pixels"));
}

}  // namespace
}  // namespace regard::picture
