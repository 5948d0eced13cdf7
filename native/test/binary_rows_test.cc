// Functions of two numbers and the sum of a map at every level: each against its definition, at sizes off the vector and where operands
// are one for all.
#include <cmath>
#include <vector>

#include "../src/kernels/elementwise/binary_rows.h"
#include "../src/kernels/pool/sum_map.h"
#include "isa_levels.h"
#include "repfuse/kernels.h"

namespace repfuse {
namespace {

struct Function {
  const char* name;
  void (*BinaryKernels::*run)(const BinaryRows& rows);
  float (*definition)(float a, float b);
};
const Function kFunctions[] = {
    {"add", &BinaryKernels::add, [](float a, float b) { return a + b; }},
    {"sub", &BinaryKernels::sub, [](float a, float b) { return a - b; }},
    {"mul", &BinaryKernels::mul, [](float a, float b) { return a * b; }},
    {"div", &BinaryKernels::div, [](float a, float b) { return a / b; }},
    {"prelu", &BinaryKernels::prelu, [](float a, float b) { return a < 0 ? a * b : a; }},
    {"min", &BinaryKernels::min, [](float a, float b) { return std::isnan(a) || a < b ? a : b; }},
    {"max", &BinaryKernels::max, [](float a, float b) { return std::isnan(a) || a > b ? a : b; }},
};

bool IsSame(float a, float b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

class BinaryRowsTest : public IsaTest {};

TEST_P(BinaryRowsTest, AreTheirDefinitions) {
  const float kValues[] = {0.0f, -0.0f, 1.5f, -2.25f, INFINITY, -INFINITY, NAN, 3.4028235e38f, -1e38f, 1.17549435e-38f, 7.0f};
  constexpr int64_t kMost = 48;
  std::vector<float> a(kMost * kMost), b(kMost * kMost);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = kValues[i * 7 % std::size(kValues)];
    b[i] = kValues[(i * 5 + i / 11) % std::size(kValues)];
  }
  for (const Function& f : kFunctions) {
    for (const int64_t inner : {1, 2, 7, 8, 15, 16, 17, 33, 48}) {
      for (const int64_t outer : {1, 3, 19}) {
        // Distances: those of neighbours, of one for all, and of every other number.
        for (const int64_t a_outer : {inner, int64_t{0}, int64_t{1}}) {
          for (const int64_t b_outer : {inner, int64_t{0}, int64_t{1}}) {
            for (const int64_t a_inner : {0, 1, 2}) {
              for (const int64_t b_inner : {0, 1, 2}) {
                const float kGuard = 12345;
                std::vector<float> y(static_cast<size_t>(outer * inner) + 1, kGuard);
                (Kernels().binary.*f.run)({a.data(), b.data(), y.data(), outer, inner, a_outer, b_outer, a_inner, b_inner});
                for (int64_t o = 0; o < outer; ++o) {
                  for (int64_t i = 0; i < inner; ++i) {
                    const float left = a[static_cast<size_t>(o * a_outer + i * a_inner)];
                    const float right = b[static_cast<size_t>(o * b_outer + i * b_inner)];
                    const float got = y[static_cast<size_t>(o * inner + i)];
                    ASSERT_TRUE(IsSame(f.definition(left, right), got))
                        << f.name << "(" << left << ", " << right << ") = " << got << ", " << outer << " x " << inner;
                  }
                }
                ASSERT_EQ(y.back(), kGuard) << f.name;
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(BinaryRowsTest, SumsOfMapsAreThoseInFloat64) {
  for (const int64_t pixels : {1, 3, 4, 7, 14, 17}) {
    for (const int64_t rows : {1, 2, 7}) {
      const int64_t pitch = (pixels + 2) * 16;
      std::vector<float> x(static_cast<size_t>(rows * pitch));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int64_t>(i * 2654435761u % 2001) - 1000) / 64;
      double sum[16];
      Kernels().blocked.sum_map({x.data(), rows, pixels, pitch, sum});
      for (int64_t c = 0; c < 16; ++c) {
        double want = 0;  // exact, in any order
        for (int64_t i = 0; i < rows * pixels; ++i) want += x[static_cast<size_t>(i / pixels * pitch + i % pixels * 16 + c)];
        ASSERT_EQ(sum[c], want) << rows << " x " << pixels;
      }
    }
  }
}

REPFUSE_FOR_ISAS(BinaryRowsTest);

}  // namespace
}  // namespace repfuse
