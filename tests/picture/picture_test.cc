// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <png.h>

#include <cmath>

#include "picture/alignment.h"
#include "picture/curve.h"
#include "picture/font.h"
#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::picture {
namespace {

using test::message_of;
using test::says;
using test::TemporaryFolder;

// A PNG's pixels, read by libpng.
struct Read {
  explicit Read(const std::string& bytes) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0);
    image.format = PNG_FORMAT_RGB;
    pixels.resize(PNG_IMAGE_SIZE(image));
    EXPECT_NE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
    width = static_cast<int>(image.width);
    height = static_cast<int>(image.height);
  }
  int red(int x, int y) const { return pixels[static_cast<std::size_t>((y * width + x) * 3)]; }
  std::vector<unsigned char> pixels;
  int width = 0, height = 0;
};

Alignment example() {
  return {.source = {"der", "Übersetzer,", "\"alt\""},
          .target = {"the", "<old>"},
          .weights = {1, 0, 0, 0.25, 0.25, 0.5}};
}

TEST(Canvas, IsWrittenAsItIs) {
  Canvas canvas(5, 4);
  canvas.rectangle(1, 1, 2, 2, {10, 20, 30});
  canvas.rectangle(-3, -3, 100, 1, kBlack);  // what lies outside is no harm
  const Read read(canvas.png());
  EXPECT_EQ(read.width, 5);
  EXPECT_EQ(read.height, 4);
  EXPECT_EQ(read.red(0, 0), 255);
  EXPECT_EQ(read.red(2, 2), 10);
  EXPECT_EQ(read.red(3, 3), 255);
}

TEST(Font, DrawsTextAcrossAndUpwards) {
  const Font font(16);
  const int width = font.width("Wörter");
  EXPECT_GT(width, 30);
  EXPECT_LT(width, 90);
  Canvas across(120, 40), upwards(40, 120);
  font.draw(across, 10, 20, "Wörter");
  font.draw_upwards(upwards, 20, 109, "Wörter");
  int dark = 0;
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 120; ++x) {
      EXPECT_EQ(across.at(x, y).red, upwards.at(y, 119 - x).red);
      dark += across.at(x, y).red < 128;
    }
  }
  EXPECT_GT(dark, 100);
}

TEST(Alignment, PictureHasTheWeightsAsGreys) {
  const Read read(alignment_png(example()));
  // Cells are 30 pixels and end 10 before the right and lower edges.
  const int left = read.width - 10 - 3 * 30, top = read.height - 10 - 2 * 30;
  EXPECT_EQ(read.red(left + 15, top + 15), 255);
  EXPECT_EQ(read.red(left + 45, top + 15), 0);
  EXPECT_EQ(read.red(left + 15, top + 45), std::lround(0.25 * 255));
  EXPECT_EQ(read.red(left + 75, top + 45), std::lround(0.5 * 255));
}

TEST(Alignment, TableAndPageSayTheWords) {
  EXPECT_EQ(alignment_csv(example()),
            "\"\",\"der\",\"Übersetzer,\",\"\"\"alt\"\"\"\n"
            "\"the\",1,0,0\n\"<old>\",0.25,0.25,0.5\n");
  const std::string page = alignment_html(example(), "a <title>");
  EXPECT_TRUE(says(page, "<title>a &lt;title&gt;</title>"));
  EXPECT_TRUE(says(page, "<th>&lt;old&gt;</th>"));
  EXPECT_TRUE(says(page, "&quot;alt&quot;: 0.500"));
}

TEST(Alignment, TheEndingOfTheNameChooses) {
  const TemporaryFolder folder;
  for (const std::string name : {"a.png", "a.html", "a.csv"}) {
    write_alignment(example(), folder / name, "title");
    EXPECT_GT(std::filesystem::file_size(folder / name), 20u);
  }
  EXPECT_TRUE(says(message_of([&] { write_alignment(example(), folder / "a.gif", "title"); }),
                   "a.gif: expected a name that ends with .png, .html or .csv"));
}

TEST(Curve, DrawsWhatIsFinite) {
  const Colour red{255, 0, 0};
  const Read flat(curve_png("t", "step", {{"loss", red, {{0, 1}, {5, NAN}, {10, 1}}}}));
  int coloured = 0;
  for (std::size_t i = 0; i < flat.pixels.size(); i += 3) {
    coloured += flat.pixels[i] == 255 && flat.pixels[i + 1] == 0;
  }
  EXPECT_GT(coloured, 800) << "a line across the picture";
  EXPECT_FALSE(curve_png("t", "step", {{"loss", red, {}}}).empty());
}

}  // namespace
}  // namespace regard::picture
