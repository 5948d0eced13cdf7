// Four outputs a step in plain C++ (kept scalar, as gemm__scalar.cc). Called by the depthwise driver through the kernel table.
#pragma GCC optimize("no-tree-vectorize")

#include "rows.h"

#include <algorithm>

namespace repfuse {
namespace {

constexpr int kLanes = 4;

// One tap on the lanes that read inside the map: all of them (then the sums stay in registers) or some.
struct AllLanes {
  static void Add(float (&acc)[kLanes], float w, const float* from, int64_t stride, LaneRange) {
    for (int i = 0; i < kLanes; ++i) acc[i] += w * from[i * stride];
  }
};
struct SomeLanes {
  static void Add(float (&acc)[kLanes], float w, const float* from, int64_t stride, LaneRange inside) {
    for (int i = inside.begin; i < inside.end; ++i) acc[i] += w * from[i * stride];
  }
};

template <typename Lanes>
void Run(const DepthwiseRows& t, int64_t oy, int64_t ox, const LaneRange* inside) {
  float acc[kLanes] = {t.bias, t.bias, t.bias, t.bias};
  const float* w = t.weight;
  for (int64_t u = 0; u < t.kernel_h; ++u) {
    const float* from = t.x + oy * t.stride_row + ox * t.stride + u * t.tap_row;
    for (int64_t v = 0; v < t.kernel_w; ++v, ++w, from += t.tap_column) Lanes::Add(acc, *w, from, t.stride, inside[v]);
  }
  float* y = t.y + oy * t.out_w + ox;
  for (int i = 0; i < kLanes && ox + i < t.out_w; ++i) y[i] = t.relu && acc[i] < 0.0f ? 0.0f : acc[i];
}

}  // namespace

void DepthwiseRows__scalar(const DepthwiseRows& t) {
  const auto is_full = [](LaneRange range) { return range.begin == 0 && range.end == kLanes; };
  for (int64_t ox = 0; ox < t.out_w; ox += kLanes) {
    const LaneRange* inside = t.inside + ox / kLanes * t.kernel_w;
    const bool full = std::all_of(inside, inside + t.kernel_w, is_full);
    for (int64_t oy = 0; oy < t.out_h; ++oy) {
      if (full) Run<AllLanes>(t, oy, ox, inside);
      else Run<SomeLanes>(t, oy, ox, inside);
    }
  }
}

}  // namespace repfuse
