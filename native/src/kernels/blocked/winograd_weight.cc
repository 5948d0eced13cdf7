#include <cmath>

#include "winograd_tile.h"

namespace repfuse {
namespace {

const WinogradAxis& AxisOf(int outputs) {
  static const WinogradAxis two(2), four(4);
  return outputs == 2 ? two : four;
}

}  // namespace

// Row i of G: the powers of point i over the product of its distances to the other finite points; infinity takes the last coefficient. An
// input's factors are the coefficients of the product of (x - p) over the other finite points p, of infinity over all; an output's are the
// powers of the point.
WinogradAxis::WinogradAxis(int outputs) {
  constexpr double kPointsOf2[] = {0, 1, -1}, kPointsOf4[] = {0, 0.75, -0.75, 1.5, -1.5};
  const double* points = outputs == 2 ? kPointsOf2 : kPointsOf4;
  const int finite = outputs + 1;
  for (int i = 0; i <= finite; ++i) {
    double distances = 1, factors[6] = {1};
    for (int j = 0, degree = 0; j < finite; ++j) {
      if (j == i) continue;
      if (i < finite) distances *= points[i] - points[j];
      for (int k = ++degree; k >= 0; --k) factors[k] = (k > 0 ? factors[k - 1] : 0) - points[j] * (k < degree ? factors[k] : 0);
    }
    const double point = i < finite ? points[i] : 0;
    for (int k = 0; k < 3; ++k) g[i][k] = i < finite ? std::pow(point, k) / distances : k == 2 ? 1 : 0;
    values[i] = {};
    for (const double factor : factors) {
      values[i].sum += factor;
      values[i].squares += factor * factor;
    }
    for (int k = 0; k < outputs; ++k) values[i].back += i < finite ? std::pow(point, 2 * k) : k == outputs - 1 ? 1 : 0;
    values[i].back /= outputs;
  }
  first = 1 / g[0][0];
  second = 1 / (g[1][1] - g[2][1]);
}

void WinogradWeights(WinogradForm form, const float (*kernels)[kBlock], float (*u)[kBlock]) {
  const auto &of_rows = AxisOf(form.rows).g, &of_columns = AxisOf(form.columns).g;
  const int rows = form.rows + 2, columns = form.columns + 2;
  for (int i = 0; i < rows; ++i) {
    const auto& g = of_rows[i];
    double row[3][kBlock];
    for (int k = 0; k < 3; ++k) {
      for (int lane = 0; lane < kBlock; ++lane)
        row[k][lane] = g[0] * kernels[k][lane] + g[1] * kernels[3 + k][lane] + g[2] * kernels[6 + k][lane];
    }
    for (int j = 0; j < columns; ++j) {
      const auto& h = of_columns[j];
      float* to = u[i * columns + j];
      for (int lane = 0; lane < kBlock; ++lane)
        to[lane] = static_cast<float>(row[0][lane] * h[0] + row[1][lane] * h[1] + row[2][lane] * h[2]);
    }
  }
}

void WinogradKernelsOf(WinogradForm form, const float (*u)[kBlock], float (*kernels)[kBlock]) {
  const WinogradAxis &of_rows = AxisOf(form.rows), &of_columns = AxisOf(form.columns);
  const int columns = form.columns + 2, last_row = form.rows + 1, last = form.columns + 1;
  const float first_row = static_cast<float>(of_rows.first), second_row = static_cast<float>(of_rows.second);
  const float first = static_cast<float>(of_columns.first), second = static_cast<float>(of_columns.second);
  float rows[3][6][kBlock];
  for (int j = 0; j < columns; ++j) {
    for (int lane = 0; lane < kBlock; ++lane) {
      rows[0][j][lane] = u[j][lane] * first_row;
      rows[1][j][lane] = (u[columns + j][lane] - u[2 * columns + j][lane]) * second_row;
      rows[2][j][lane] = u[last_row * columns + j][lane];
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
