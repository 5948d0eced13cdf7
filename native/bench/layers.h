// The distinct convolutions of RepVGG-A0, RepVGG-B1 and MobileOne-S0 at 224 x 224, in the order in which they come.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace repfuse {

struct Layer {
  const char* net;
  int64_t in, out, size, kernel, stride, groups;

  int64_t out_size() const { return (size - 1) / stride + 1; }  // padding: half the kernel
  int64_t weights() const { return out * (in / groups) * kernel * kernel; }
  double flops() const { return 2.0 * static_cast<double>(weights() * out_size() * out_size()); }
  // Weights once, inputs once, outputs once.
  double bytes() const { return 4.0 * static_cast<double>(weights() + in * size * size + out * out_size() * out_size()); }
  std::string name() const {
    return std::string(net) + " " + std::to_string(in) + "->" + std::to_string(out) + (groups > 1 ? " dw " : " ") + std::to_string(kernel) +
           "x" + std::to_string(kernel) + " " + std::to_string(size) + "x" + std::to_string(size) + " s" + std::to_string(stride);
  }
};

inline std::vector<Layer> Layers() {
  return {{"A0", 3, 48, 224, 3, 2, 1},   {"A0", 48, 48, 112, 3, 2, 1},    {"A0", 48, 48, 56, 3, 1, 1},   {"A0", 48, 96, 56, 3, 2, 1},
          {"A0", 96, 96, 28, 3, 1, 1},   {"A0", 96, 192, 28, 3, 2, 1},    {"A0", 192, 192, 14, 3, 1, 1}, {"A0", 192, 1280, 14, 3, 2, 1},
          {"B1", 3, 64, 224, 3, 2, 1},   {"B1", 64, 128, 112, 3, 2, 1},   {"B1", 128, 128, 56, 3, 1, 1}, {"B1", 128, 256, 56, 3, 2, 1},
          {"B1", 256, 256, 28, 3, 1, 1}, {"B1", 256, 512, 28, 3, 2, 1},   {"B1", 512, 512, 14, 3, 1, 1}, {"B1", 512, 2048, 14, 3, 2, 1},
          {"S0", 48, 48, 112, 3, 2, 48}, {"S0", 48, 48, 56, 1, 1, 1},     {"S0", 48, 48, 56, 3, 1, 48},  {"S0", 48, 48, 56, 3, 2, 48},
          {"S0", 48, 128, 28, 1, 1, 1},  {"S0", 128, 128, 28, 3, 1, 128}, {"S0", 128, 128, 28, 1, 1, 1}, {"S0", 128, 128, 28, 3, 2, 128},
          {"S0", 128, 256, 14, 1, 1, 1}, {"S0", 256, 256, 14, 3, 1, 256}, {"S0", 256, 256, 14, 1, 1, 1}, {"S0", 256, 256, 14, 3, 2, 256},
          {"S0", 256, 1024, 7, 1, 1, 1}, {"S0", 1024, 1000, 1, 1, 1, 1}};
}

}  // namespace repfuse
