// Activations at every exponent, every level and every place that computes them, against their definition in float64. With
// REPFUSE_EVERY_FLOAT set at all 2^32 float32 values (`npm run trust`).
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <mutex>

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
  Activation kind;
  float alpha, beta;
  double ulps;
};
constexpr Function kFunctions[] = {{"relu", Activation::kRelu, 0, 0, 0},
                                   {"sigmoid", Activation::kSigmoid, 0, 0, 4},
                                   {"silu", Activation::kSilu, 0, 0, 4},
                                   {"hardswish", Activation::kHardswish, 0, 0, 2},
                                   {"clip", Activation::kClip, -1.5f, 6, 0},
                                   {"leaky relu", Activation::kLeakyRelu, 0.01f, 0, 1},
                                   {"hard sigmoid", Activation::kHardSigmoid, 1.0f / 6, 0.5f, 0.51},
                                   {"tanh", Activation::kTanh, 0, 0, 0.51}};

double Definition(const Function& f, double x) {
  switch (f.kind) {
    case Activation::kRelu: return x < 0 ? 0 : x;
    case Activation::kSigmoid: return 1 / (1 + std::exp(-x));
    case Activation::kSilu: return x / (1 + std::exp(-x));
    case Activation::kHardswish: return x * (x <= -3 ? 0 : x >= 3 ? 1 : (x + 3) / 6);
    case Activation::kClip: return x < f.alpha ? f.alpha : x > f.beta ? f.beta : x;
    case Activation::kLeakyRelu: return x < 0 ? x * f.alpha : x;
    case Activation::kHardSigmoid: return x * f.alpha + f.beta < 0 ? 0 : x * f.alpha + f.beta > 1 ? 1 : x * f.alpha + f.beta;
    case Activation::kTanh: return std::tanh(x);
  }
  return x;
}

bool IsRight(const Function& f, float x, float got) {
  const double want = Definition(f, x);
  if (std::isnan(want) || std::isinf(want)) return std::isnan(want) ? std::isnan(got) : got == want;
  if (std::isnan(got)) return false;
  const double unit = std::ldexp(1.0, std::max(want == 0 ? -126 : std::ilogb(want), -126) - 23);
  double within = f.ulps * unit;
  if (std::abs(want) < kMin * (1 + 4 * 0x1p-23) || std::abs(x) < kMin) within += kMin;
  return std::abs(got - want) <= within;
}

// By the kernels in force: a step of the engine, the eager operator.
void ByStep(const Function& f, const std::vector<float>& x, std::vector<float>* y) {
  NetworkNode node;
  node.kind = NodeKind::kActivation;
  node.inputs = {0};
  node.activation = f.kind;
  node.alpha = f.alpha;
  node.beta = f.beta;
  Shape shape;
  shape[shape.rank++] = static_cast<int64_t>(x.size());
  ASSERT_TRUE(RunTensorOp(node, {{x.data(), shape}}, y->data(), 1).ok());
}
bool IsEager(const Function& f) {
  return f.kind == Activation::kRelu || f.kind == Activation::kSigmoid || f.kind == Activation::kSilu || f.kind == Activation::kHardswish;
}

void Check(const Function& f, const std::vector<float>& x, std::vector<float>* y) {
  const auto compare = [&](const char* way) {
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_TRUE(IsRight(f, x[i], (*y)[i])) << way << " " << f.name << "(" << x[i] << ") = " << (*y)[i] << ", not " << Definition(f, x[i]);
    }
  };
  ByStep(f, x, y);
  compare("the engine's");
  if (!IsEager(f)) return;
  Activate(f.kind, x.data(), y->data(), static_cast<int64_t>(x.size()), 1);
  compare("the eager");
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
