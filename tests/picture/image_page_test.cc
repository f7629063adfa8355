// SPDX-License-Identifier: Apache-2.0
#include "picture/image_page.h"

#include <gtest/gtest.h>

#include "picture/script.h"
#include "tests/support/messages.h"

namespace regard::picture {
namespace {

using test::message_of;
using test::says;

// The examples of RFC 4648, section 10.
TEST(Script, AddressesAreBase64) {
  const std::string begin = "data:image/png;base64,";
  EXPECT_EQ(png_address(""), begin);
  EXPECT_EQ(png_address("f"), begin + "Zg==");
  EXPECT_EQ(png_address("fo"), begin + "Zm8=");
  EXPECT_EQ(png_address("foo"), begin + "Zm9v");
  EXPECT_EQ(png_address("foobar"), begin + "Zm9vYmFy");
  EXPECT_EQ(png_address("\xff\xfe\xfd"), begin + "//79");
}

TEST(ImagePage, HasTheImageTheMapsAndNothingFromElsewhere) {
  const image::Image image{2, 1, {1, 2, 3, 4, 5, 6}};
  const std::string page = image_page("<a>", image,
                                      {{"cat </script>", {1, 2, {0.25, 0.75}}, {}},
                                       {"dog", {1, 1, {1}}, Box{0.5, 0, 1, 1, "dog"}}});
  EXPECT_TRUE(says(page, "<h1>&lt;a&gt;</h1>"));
  EXPECT_TRUE(says(page, "src=\"data:image/png;base64,iVBORw0KGgo"));
  EXPECT_TRUE(says(page, "weights: [0.25,0.75]"));
  EXPECT_TRUE(says(page, "box: [0.5,0,1,1]"));
  EXPECT_TRUE(says(page, "const scale = 240;"));
  EXPECT_FALSE(says(page, "cat </script>"));
  EXPECT_FALSE(says(page, "http"));
}

TEST(ImagePage, RefusesWhatIsNoMap) {
  const image::Image image{2, 1, {1, 2, 3, 4, 5, 6}};
  EXPECT_TRUE(says(message_of([&] { image_page("", image, {}); }), "maps: none"));
  EXPECT_TRUE(says(message_of([&] {
                     image_page("", image, {{"", {2, 2, {1}}, {}}});
                   }),
                   "rows x columns"));
}

}  // namespace
}  // namespace regard::picture
