#include "winograd_tile.h"

namespace repfuse {
namespace {

// Row i of G: the powers of point i over the product of its distances to the other finite points; infinity takes the last coefficient.
struct Points {
  double g[6][3];

  explicit Points(int m) {
    constexpr double kPointsOf2[] = {0, 1, -1}, kPointsOf4[] = {0, 0.75, -0.75, 1.5, -1.5};
    const double* points = m == 2 ? kPointsOf2 : kPointsOf4;
    const int finite = m + 1;
    for (int i = 0; i < finite; ++i) {
      double distances = 1;
      for (int j = 0; j < finite; ++j) distances *= j == i ? 1 : points[i] - points[j];
      g[i][0] = 1 / distances;
      g[i][1] = points[i] / distances;
      g[i][2] = points[i] * points[i] / distances;
    }
    g[finite][0] = g[finite][1] = 0;
    g[finite][2] = 1;
  }
};

}  // namespace

void WinogradWeights(int m, const float (*kernels)[kBlock], float (*u)[kBlock]) {
  static const Points two(2), four(4);
  const auto& g = (m == 2 ? two : four).g;
  const int size = WinogradSize(m);
  for (int i = 0; i < size; ++i) {
    double row[3][kBlock];
    for (int k = 0; k < 3; ++k) {
      for (int lane = 0; lane < kBlock; ++lane)
        row[k][lane] = g[i][0] * kernels[k][lane] + g[i][1] * kernels[3 + k][lane] + g[i][2] * kernels[6 + k][lane];
    }
    for (int j = 0; j < size; ++j) {
      float* to = u[i * size + j];
      for (int lane = 0; lane < kBlock; ++lane)
        to[lane] = static_cast<float>(row[0][lane] * g[j][0] + row[1][lane] * g[j][1] + row[2][lane] * g[j][2]);
    }
  }
}

}  // namespace repfuse
