// Convolutions for the tests of the engine: seeded cases, what the plain definition makes of them, and the network that holds one.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>

#include "../src/engine/operators/activation.h"
#include "network_support.h"
#include "repfuse/conv.h"

namespace repfuse {

struct Case {
  ImageShape input;
  int64_t out_channels, groups, kernel_h, kernel_w, stride, pad_h, pad_w, dilation;
  const Activation* activation;
  bool residual;
};

inline double Activated(const Activation* activation, double v) {
  if (activation == nullptr) return v;
  const std::string_view name = activation->name;
  if (name == "relu") return std::max(v, 0.0);
  if (name == "sigmoid") return 1 / (1 + std::exp(-v));
  if (name == "silu") return v / (1 + std::exp(-v));
  if (name == "hardswish") return v * std::clamp(v + 3, 0.0, 6.0) / 6;
  return v;
}

// The plain definition, in Real.
template <typename Real>
std::vector<double> Reference(const Case& c, const ConvShape& shape, const std::vector<float>& x, const std::vector<float>& weight,
                              const std::vector<float>& bias) {
  const int64_t in_per_group = shape.in_channels / shape.groups, out_per_group = shape.out_channels / shape.groups, oh = shape.out_height(),
                ow = shape.out_width();
  std::vector<double> y(static_cast<size_t>(shape.batch * shape.out_channels * oh * ow));
  size_t at = 0;
  for (int64_t n = 0; n < shape.batch; ++n) {
    for (int64_t o = 0; o < shape.out_channels; ++o) {
      for (int64_t i = 0; i < oh; ++i) {
        for (int64_t j = 0; j < ow; ++j, ++at) {
          Real sum = bias[static_cast<size_t>(o)];
          for (int64_t k = 0; k < in_per_group; ++k) {
            const int64_t channel = o / out_per_group * in_per_group + k;
            for (int64_t a = 0; a < shape.kernel_h; ++a) {
              for (int64_t b = 0; b < shape.kernel_w; ++b) {
                const int64_t row = i * shape.stride_h - shape.pad_top + a * shape.dilation_h,
                              column = j * shape.stride_w - shape.pad_left + b * shape.dilation_w;
                if (row < 0 || column < 0 || row >= shape.height || column >= shape.width) continue;
                sum += static_cast<Real>(
                           x[static_cast<size_t>(((n * shape.in_channels + channel) * shape.height + row) * shape.width + column)]) *
                       static_cast<Real>(weight[static_cast<size_t>(((o * in_per_group + k) * shape.kernel_h + a) * shape.kernel_w + b)]);
              }
            }
          }
          y[at] = c.activation && !c.residual ? Activated(c.activation, static_cast<double>(sum)) : static_cast<double>(sum);
        }
      }
    }
  }
  return y;
}

inline ConvShape ShapeOf(const Case& c) {
  return {.batch = c.input.batch,
          .in_channels = c.input.channels,
          .height = c.input.height,
          .width = c.input.width,
          .out_channels = c.out_channels,
          .kernel_h = c.kernel_h,
          .kernel_w = c.kernel_w,
          .stride_h = c.stride,
          .stride_w = c.stride,
          .pad_top = c.pad_h,
          .pad_left = c.pad_w,
          .pad_bottom = c.pad_h,
          .pad_right = c.pad_w,
          .dilation_h = c.dilation,
          .dilation_w = c.dilation,
          .groups = c.groups};
}

inline NetworkNode ConvNode(const Case& c, const std::vector<float>& weight, const std::vector<float>& bias) {
  NetworkNode node;
  node.op = FindOperator("conv");
  node.name = "conv";
  node.inputs = {0};
  node.activation = c.activation;
  node.weight = BufferOf(weight);
  node.bias = BufferOf(bias);
  node.out_channels = c.out_channels;
  node.groups = c.groups;
  node.kernel_h = c.kernel_h;
  node.kernel_w = c.kernel_w;
  node.stride_h = node.stride_w = c.stride;
  node.dilation_h = node.dilation_w = c.dilation;
  node.pad_top = node.pad_bottom = c.pad_h;
  node.pad_left = node.pad_right = c.pad_w;
  return node;
}

// A case with its data and what the definition makes of them.
struct Reckoned {
  std::vector<float> x, weight, bias;
  std::vector<double> want;
  double peak = 0, plain_error = 0;  // of a float32 sum in the order of the definition
};

inline Reckoned Reckon(const Case& c, uint32_t seed) {
  std::mt19937 engine(seed);
  Reckoned r;
  r.x = RandomFloats(static_cast<size_t>(c.input.batch * c.input.channels * c.input.height * c.input.width), engine);
  r.weight = RandomFloats(static_cast<size_t>(c.out_channels * (c.input.channels / c.groups) * c.kernel_h * c.kernel_w), engine);
  // Outputs of about 1, where activations bend.
  for (float& w : r.weight) w /= std::sqrt(static_cast<float>(c.input.channels / c.groups * c.kernel_h * c.kernel_w));
  r.bias = RandomFloats(static_cast<size_t>(c.out_channels), engine);
  const ConvShape shape = ShapeOf(c);
  r.want = Reference<double>(c, shape, r.x, r.weight, r.bias);
  auto plain = Reference<float>(c, shape, r.x, r.weight, r.bias);
  if (c.residual) {
    for (double& v : r.want) v = Activated(c.activation, v + v);
    for (double& v : plain) v = Activated(c.activation, v + v);
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    r.peak = std::max(r.peak, std::abs(r.want[i]));
    r.plain_error = std::max(r.plain_error, std::abs(plain[i] - r.want[i]));
  }
  if (r.peak == 0) r.peak = 1;  // a ReLU left nothing
  return r;
}

// The convolution alone; with `residual` activation(conv(x) + conv(x)), the second sum entering the first convolution.
inline Network NetworkOf(const Case& c, const Reckoned& r) {
  Network network;
  network.inputs = {{ValueType::kImages, c.input.channels}};
  if (c.residual) {
    Case plain = c;
    plain.activation = nullptr;
    network.nodes.push_back(ConvNode(plain, r.weight, r.bias));
    network.nodes.push_back(ConvNode(c, r.weight, r.bias));
    network.nodes.back().inputs = {0, 1};
    network.outputs = {2};
  } else {
    network.nodes.push_back(ConvNode(c, r.weight, r.bias));
    network.outputs = {1};
  }
  return network;
}

inline std::string Describe(const Case& c) {
  std::string text;
  for (const int64_t v : {c.input.batch, c.input.channels, c.input.height, c.input.width, c.out_channels, c.groups, c.kernel_h, c.kernel_w,
                          c.stride, c.pad_h, c.pad_w, c.dilation}) {
    text += std::to_string(v) + " ";
  }
  return text + (c.residual ? "residual" : "");
}

// A case of any kind; with `winograd` a 3x3 kernel of stride 1.
inline Case RandomCase(std::mt19937& engine, bool winograd) {
  const auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[engine() % values.size()]; };
  const Activation* const activations[] = {nullptr, FindActivation("relu"), FindActivation("silu"), FindActivation("hardswish"),
                                           FindActivation("sigmoid")};
  Case c{.input = {pick({1, 1, 2, 3}), 1 + static_cast<int64_t>(engine() % 40), 1 + static_cast<int64_t>(engine() % 16),
                   1 + static_cast<int64_t>(engine() % 16)},
         .out_channels = 1 + static_cast<int64_t>(engine() % 40),
         .groups = 1,
         .kernel_h = pick({1, 3, 3, 5, 2}),
         .kernel_w = pick({1, 3, 3, 4, 7}),
         .stride = pick({1, 1, 2, 3}),
         .pad_h = pick({0, 1, 1, 2, 3}),
         .pad_w = pick({0, 1, 1, 2, 3}),
         .dilation = pick({1, 1, 1, 2}),
         .activation = activations[engine() % 5],
         .residual = engine() % 4 == 0};
  switch (engine() % 4) {  // groups: none, depthwise, some that cross blocks, some that do not
    case 1: c.groups = c.out_channels = c.input.channels; break;
    case 2: {
      const int64_t groups = pick({2, 3, 4});
      c.input.channels = (c.input.channels + groups - 1) / groups * groups;
      c.out_channels = (c.out_channels + groups - 1) / groups * groups;
      c.groups = groups;
      break;
    }
    case 3:
      c.groups = 2;
      c.input.channels = c.out_channels = pick({32, 64});
      break;
    default: break;
  }
  if (winograd) {
    c.kernel_h = c.kernel_w = 3;
    c.stride = c.dilation = 1;
  }
  return c;
}

}  // namespace repfuse
