#include <cmath>

#include "winograd_tile.h"

namespace repfuse {
namespace {

// Row i of G: the powers of point i over the product of its distances to the other finite points; infinity takes the last coefficient.
struct Points {
  double g[6][3];
  // A row of a kernel back from its values: the first of the point 0, the second of the difference of the points 1 and 2, which are each
  // other's negative, the last of infinity.
  double first, second;

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
    first = 1 / g[0][0];
    second = 1 / (g[1][1] - g[2][1]);
    g[finite][0] = g[finite][1] = 0;
    g[finite][2] = 1;
  }
};

const Points& PointsOf(int m) {
  static const Points two(2), four(4);
  return m == 2 ? two : four;
}

}  // namespace

void WinogradWeights(int m, const float (*kernels)[kBlock], float (*u)[kBlock]) {
  const auto& g = PointsOf(m).g;
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

void WinogradKernelsOf(int m, const float (*u)[kBlock], float (*kernels)[kBlock]) {
  const Points& points = PointsOf(m);
  const float first = static_cast<float>(points.first), second = static_cast<float>(points.second);
  const int size = WinogradSize(m), last = size - 1;
  float rows[3][6][kBlock];
  for (int j = 0; j < size; ++j) {
    for (int lane = 0; lane < kBlock; ++lane) {
      rows[0][j][lane] = u[j][lane] * first;
      rows[1][j][lane] = (u[size + j][lane] - u[2 * size + j][lane]) * second;
      rows[2][j][lane] = u[last * size + j][lane];
    }
  }
  for (int i = 0; i < 3; ++i) {
    float(*const to)[kBlock] = kernels + i * 3;
    for (int lane = 0; lane < kBlock; ++lane) {
      to[0][lane] = rows[i][0][lane] * first;
      to[1][lane] = (rows[i][1][lane] - rows[i][2][lane]) * second;
      to[2][lane] = rows[i][last][lane];
    }
    for (int tap = 0; tap < 3; ++tap) {
      for (int lane = 0; lane < kBlock; ++lane) to[tap][lane] = std::isfinite(to[tap][lane]) ? to[tap][lane] : 0;
    }
  }
}

}  // namespace repfuse
