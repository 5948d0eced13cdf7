#include "planes.h"

#include <algorithm>
#include <cstring>

#include "step.h"

namespace repfuse {
namespace {

void CopyWhole(const float* from, float* to, int64_t elements, int threads) {
  ForElements(elements, threads, [&](int64_t first, int64_t count) { std::copy_n(from + first, count, to + first); });
}

}  // namespace

void FromPlanes(const float* planes, const Layout& to, float* values, int threads) {
  if (to.IsDense()) return CopyWhole(planes, values, to.elements(), threads);
  const ImageShape& s = to.shape;
  ForEach(s.batch * to.planes(), threads, [&](int64_t index, int) {
    const int64_t n = index / to.planes(), plane = index % to.planes(), lanes = to.lanes();
    const int64_t channels = std::min(lanes, s.channels - plane * lanes);
    for (int64_t y = 0; y < s.height; ++y) {
      float* row = values + to.at(n, plane, y, 0);
      const float* from = planes + ((n * s.channels + plane * lanes) * s.height + y) * s.width;
      if (lanes == 1) {
        std::memcpy(row, from, static_cast<size_t>(s.width) * sizeof(float));
        continue;
      }
      for (int64_t c = 0; c < lanes; ++c) {
        for (int64_t x = 0; x < s.width; ++x) row[x * lanes + c] = c < channels ? from[c * s.height * s.width + x] : 0.0f;
      }
    }
  });
}

void ToPlanes(const float* values, const Layout& in, float* planes, int threads) {
  if (in.IsDense()) return CopyWhole(values, planes, in.elements(), threads);
  const ImageShape& s = in.shape;
  ForEach(s.batch * in.planes(), threads, [&](int64_t index, int) {
    const int64_t n = index / in.planes(), plane = index % in.planes(), lanes = in.lanes();
    const int64_t channels = std::min(lanes, s.channels - plane * lanes);
    for (int64_t y = 0; y < s.height; ++y) {
      const float* row = values + in.at(n, plane, y, 0);
      float* to = planes + ((n * s.channels + plane * lanes) * s.height + y) * s.width;
      if (lanes == 1) {
        std::memcpy(to, row, static_cast<size_t>(s.width) * sizeof(float));
        continue;
      }
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t x = 0; x < s.width; ++x) to[c * s.height * s.width + x] = row[x * lanes + c];
      }
    }
  });
}

}  // namespace repfuse
