#include <algorithm>

#include "repfuse/elementwise.h"
#include "repfuse/parallel.h"

namespace repfuse {

void NormalizeChannels(int64_t batch, int64_t channels, int64_t size, const float* x, const double* mean, const double* scale,
                       const double* shift, float* y, int threads) {
  ParallelFor(batch * channels, threads, [&](int64_t plane, int) {
    const int64_t c = plane % channels;
    const double m = mean[c], s = scale[c], b = shift[c];
    const float* in = x + plane * size;
    float* out = y + plane * size;
    for (int64_t i = 0; i < size; ++i) out[i] = static_cast<float>((in[i] - m) * s + b);
  });
}

void GateChannels(int64_t planes, int64_t size, const float* x, const float* gate, float* y, int threads) {
  ParallelFor(planes, threads, [&](int64_t plane, int) {
    for (int64_t i = plane * size; i < (plane + 1) * size; ++i) y[i] = x[i] * gate[plane];
  });
}

void Frame(const FrameShape& s, const float* x, const float* fill, float* y, int threads) {
  ParallelFor(s.batch * s.channels, threads, [&](int64_t plane, int) {
    const float* in = x + plane * s.height * s.width;
    float* out = y + plane * s.out_height * s.out_width;
    const float value = fill[plane % s.channels];
    const int64_t first = std::clamp<int64_t>(s.left, 0, s.out_width);
    const int64_t last = std::clamp<int64_t>(s.left + s.width, first, s.out_width);
    for (int64_t oy = 0; oy < s.out_height; ++oy, out += s.out_width) {
      const int64_t iy = oy - s.top;
      if (iy < 0 || iy >= s.height) {
        std::fill_n(out, s.out_width, value);
        continue;
      }
      std::fill(out, out + first, value);
      std::copy_n(in + iy * s.width + first - s.left, last - first, out + first);
      std::fill(out + last, out + s.out_width, value);
    }
  });
}

}  // namespace repfuse
