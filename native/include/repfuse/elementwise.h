// Operators without a window: activations, sums, per-channel scale and shift, frames. Float64 inside, rounded once.
#pragma once

#include <cstdint>
#include <span>

namespace repfuse {

// In float64 but for ReLU, which is exact. y has as many elements as x.
void Relu(std::span<const float> x, float* y, int threads);
void Sigmoid(std::span<const float> x, float* y, int threads);
void Silu(std::span<const float> x, float* y, int threads);
void Hardswish(std::span<const float> x, float* y, int threads);
// y = a + b, of as many elements.
void Add(std::span<const float> a, std::span<const float> b, float* y, int threads);
// Softmax along the middle axis of [outer, channels, inner].
void Softmax(int64_t outer, int64_t channels, int64_t inner, const float* x, float* y, int threads);
// y = (x - mean[c]) * scale[c] + shift[c] on [batch, channels, size]: BatchNorm with running statistics.
void NormalizeChannels(int64_t batch, int64_t channels, int64_t size, const float* x, const double* mean, const double* scale,
                       const double* shift, float* y, int threads);
// y = x * gate[n, c] on [planes, size], planes = batch * channels.
void GateChannels(int64_t planes, int64_t size, const float* x, const float* gate, float* y, int threads);

// A window onto [planes, height, width] moved by (top, left): what lies outside is fill[channel]. Positive top and left pad,
// negative ones crop.
struct FrameShape {
  int64_t batch, channels, height, width;
  int64_t top, left, out_height, out_width;
};
void Frame(const FrameShape& shape, const float* x, const float* fill, float* y, int threads);

}  // namespace repfuse
