// Activations at every exponent, every level and every place that computes them, against their definition in float64. With
// REPFUSE_EVERY_FLOAT set at all 2^32 float32 values (`npm run trust`).
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

#include "../src/kernels/half/half.h"
#include "isa_levels.h"
#include "repfuse/elementwise.h"
#include "repfuse/parallel.h"
#include "repfuse/tensor_op.h"

namespace repfuse {
namespace {

constexpr double kMin = 0x1p-126;  // smaller ones count as zero in the engine

// What may be lost, in units in the last place of the result.
struct Function {
  const char* name;
  float alpha, beta;
  double ulps;
  // Of the argument: units are no less than those of this share of it. Tails that fall like e^(-x^2) lose what the rounding of x^2 makes.
  double share = 0;
};
constexpr Function kFunctions[] = {{"relu", 0, 0, 0},
                                   {"sigmoid", 0, 0, 4},
                                   {"silu", 0, 0, 4},
                                   {"hardswish", 0, 0, 2},
                                   {"clip", -1.5f, 6, 0},
                                   {"leakyRelu", 0.01f, 0, 1},
                                   {"hardSigmoid", 1.0f / 6, 0.5f, 0.51},
                                   {"tanh", 0, 0, 4},
                                   {"erf", 0, 0, 4},
                                   {"exp", 0, 0, 2},
                                   {"gelu", 0, 0, 8, 0x1p-5},
                                   {"geluTanh", 0, 0, 8, 0x1p-5},
                                   {"mish", 0, 0, 4, 0x1p-5},
                                   {"softplus", 0, 0, 5},
                                   {"elu", 0.7f, 0, 4},
                                   {"celu", 0.7f, 0, 4},
                                   {"selu", 1.67326324f, 1.05070099f, 4},
                                   {"log", 0, 0, 0.51},
                                   {"sqrt", 0, 0, 0.51},
                                   {"reciprocal", 0, 0, 0.51},
                                   {"abs", 0, 0, 0},
                                   {"neg", 0, 0, 0},
                                   {"softsign", 0, 0, 1.51},
                                   {"thresholdedRelu", 0.7f, 0, 0},
                                   {"shrink", 0.5f, 0.25f, 0.51}};

double Definition(const Function& f, double x) {
  const std::string_view name = f.name;
  if (name == "relu") return x < 0 ? 0 : x;
  if (name == "sigmoid") return 1 / (1 + std::exp(-x));
  if (name == "silu") return x / (1 + std::exp(-x));
  if (name == "hardswish") return x * (x <= -3 ? 0 : x >= 3 ? 1 : (x + 3) / 6);
  if (name == "clip") return x < f.alpha ? f.alpha : x > f.beta ? f.beta : x;
  if (name == "leakyRelu") return x < 0 ? x * f.alpha : x;
  if (name == "hardSigmoid") return x * f.alpha + f.beta < 0 ? 0 : x * f.alpha + f.beta > 1 ? 1 : x * f.alpha + f.beta;
  if (name == "tanh") return std::tanh(x);
  if (name == "erf") return std::erf(x);
  if (name == "exp") return std::exp(x);
  if (name == "gelu") return x * std::erfc(-x * std::sqrt(0.5)) / 2;
  if (name == "geluTanh") return x / (1 + std::exp(-2 * std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  if (name == "mish") return x * std::tanh(std::log1p(std::exp(x)));
  if (name == "softplus") return x > 700 ? x : std::log1p(std::exp(x));
  if (name == "elu") return x < 0 ? f.alpha * std::expm1(x) : x;
  if (name == "celu") return x < 0 ? f.alpha * std::expm1(x / f.alpha) : x;
  if (name == "selu") return f.beta * (x < 0 ? f.alpha * std::expm1(x) : x);
  if (name == "log") return std::log(x);
  if (name == "sqrt") return std::sqrt(x);
  if (name == "reciprocal") return 1 / x;
  if (name == "abs") return std::abs(x);
  if (name == "neg") return -x;
  if (name == "softsign") return x / (1 + std::abs(x));
  if (name == "thresholdedRelu") return x <= f.alpha ? 0 : x;
  if (name == "shrink") return x < -f.alpha ? x + f.beta : x > f.alpha ? x - f.beta : x * 0;
  return x;
}

bool IsRight(const Function& f, float x, float got) {
  if (x != 0 && std::abs(x) < kMin && IsRight(f, std::copysign(0.0f, x), got)) return true;
  double want = Definition(f, x);
  if (std::isinf(static_cast<float>(want))) want = static_cast<float>(want);
  if (std::isnan(want) || std::isinf(want)) return std::isnan(want) ? std::isnan(got) : got == want;
  if (std::isnan(got)) return false;
  const double size = std::max(std::abs(want), f.share * std::abs(static_cast<double>(x)));
  const double unit = std::ldexp(1.0, std::max(size == 0 ? -126 : std::ilogb(size), -126) - 23);
  double within = f.ulps * unit;
  if (std::abs(want) < kMin * (1 + 4 * 0x1p-23)) within += kMin;
  return std::abs(got - want) <= within;
}

// A step of the engine, by the kernels in force.
void ByStep(const Function& f, const std::vector<float>& x, std::vector<float>* y) {
  NetworkNode node;
  node.op = FindOperator("activation");
  node.inputs = {0};
  node.activation = FindActivation(f.name);
  node.alpha = f.alpha;
  node.beta = f.beta;
  Shape shape;
  shape[shape.rank++] = static_cast<int64_t>(x.size());
  const TensorView input{x.data(), shape};
  ASSERT_TRUE(RunTensorOp(node, {&input, 1}, *y, 1).ok());
}
// The eager operator, where there is one.
bool ByEager(const Function& f, const std::vector<float>& x, std::vector<float>* y) {
  constexpr std::pair<std::string_view, void (*)(std::span<const float>, float*, int)> kEager[] = {
      {"relu", Relu}, {"sigmoid", Sigmoid}, {"silu", Silu}, {"hardswish", Hardswish}};
  const auto* found = std::find_if(std::begin(kEager), std::end(kEager), [&](const auto& row) { return row.first == f.name; });
  if (found == std::end(kEager)) return false;
  found->second(x, y->data(), 1);
  return true;
}

void Check(const Function& f, const std::vector<float>& x, std::vector<float>* y) {
  const auto compare = [&](const char* way) {
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_TRUE(IsRight(f, x[i], (*y)[i])) << way << " " << f.name << "(" << x[i] << ") = " << (*y)[i] << ", not " << Definition(f, x[i]);
    }
  };
  ByStep(f, x, y);
  compare("the engine's");
  if (ByEager(f, x, y)) compare("the eager");
}

class ActivationsTest : public IsaTest {};

TEST_P(ActivationsTest, AtEveryExponent) {
  constexpr uint32_t kBlock = 1 << 12;
  // A prime: every exponent and any bits below it.
  const uint64_t step = std::getenv("REPFUSE_EVERY_FLOAT") != nullptr ? 1 : 10007;
  const auto blocks = static_cast<int64_t>(((uint64_t{1} << 32) / step + kBlock - 1) / kBlock);
  for (const Function& f : kFunctions) {
    ParallelFor(blocks, DefaultThreads(), [&](int64_t block, int) {
      if (HasFailure()) return;
      std::vector<float> x(kBlock), y(kBlock);
      for (uint32_t i = 0; i < kBlock; ++i) x[i] = FloatFromBits(static_cast<uint32_t>((static_cast<uint64_t>(block) * kBlock + i) * step));
      Check(f, x, &y);
    });
  }
}

TEST_P(ActivationsTest, WhereSomethingChanges) {
  std::vector<float> x = {0.0f,  -0.0f,  INFINITY,        -INFINITY,        NAN,    -NAN,   3.4028235e38f, -3.4028235e38f,
                          1e38f, -1e38f, 1.17549435e-38f, -1.17549435e-38f, 1e-45f, -1e-45f};
  for (const float at :
       {3.0f, 6.0f, 1.5f, 44.0f, 64.0f, 87.336544f, 88.0f, 88.722839f, 91.8f, 92.0f, 103.97f, 120.0f, 170.0f, 252.0f, 1000.0f}) {
    for (const float sign : {1.0f, -1.0f}) {
      float below = at * sign, above = below;
      for (int i = 0; i < 40; ++i, below = std::nextafter(below, -INFINITY), above = std::nextafter(above, INFINITY))
        x.insert(x.end(), {below, above});
    }
  }
  std::vector<float> y(x.size());
  for (const Function& f : kFunctions) Check(f, x, &y);
}

REPFUSE_FOR_ISAS(ActivationsTest);

}  // namespace
}  // namespace repfuse
