// SPDX-License-Identifier: Apache-2.0
// `read_images FILE...` writes FILE.read.ppm for each, or its error to standard output.
#include <exception>
#include <fstream>
#include <iostream>

#include "regard/image/image.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    try {
      const auto image = regard::image::read_image(argv[i]);
      std::ofstream out(std::string(argv[i]) + ".read.ppm", std::ios::binary);
      out << "P6 " << image.width << " " << image.height << " 255\n";
      out.write(reinterpret_cast<const char*>(image.pixels.data()),
                static_cast<std::streamsize>(image.pixels.size()));
    } catch (const std::exception& error) {
      std::cout << error.what() << "\n";
    }
  }
}
