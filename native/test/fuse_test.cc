// The fuse pass against its definition in float64, the same bits at every level and thread count, and tasks that are hostile.
#include "repfuse/fuse.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "isa_levels.h"
#include "kernels/half/half.h"

namespace repfuse {
namespace {

class FuseTest : public IsaTest {};

using Floats = std::vector<float>;

std::mt19937& Engine() {
  static std::mt19937 engine(1);
  return engine;
}

Floats Random(int64_t count) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  Floats values(static_cast<size_t>(count));
  for (float& v : values) v = uniform(Engine());
  return values;
}

std::vector<double> RandomDoubles(int64_t count) {
  const Floats values = Random(count);
  return {values.begin(), values.end()};
}

FuseFactor Kernel(const Floats& data, int64_t out, int64_t in_per_group, int64_t k, int64_t groups = 1) {
  FuseFactor f;
  f.type = FuseType::kF32;
  f.data = data.data();
  f.out_channels = out, f.in_per_group = in_per_group, f.kernel_h = f.kernel_w = k, f.groups = groups;
  return f;
}

FuseFactor Depthwise(double value, int64_t channels, int64_t k) {
  FuseFactor f;
  f.value = value;
  f.out_channels = f.groups = channels, f.kernel_h = f.kernel_w = k;
  return f;
}

double ValueAt(const FuseFactor& f, int64_t index) {
  switch (f.type) {
    case FuseType::kConstant: return f.value;
    case FuseType::kF32: return static_cast<const float*>(f.data)[index];
    case FuseType::kF64: return static_cast<const double*>(f.data)[index];
    case FuseType::kF16: return F16ToFloat(static_cast<const uint16_t*>(f.data)[index]);
    case FuseType::kBf16: return Bf16ToFloat(static_cast<const uint16_t*>(f.data)[index]);
  }
  return NAN;
}

// Adds coefficient times what the factors from the k-th on are, seen from channel `channel` and tap (y, x), to the row.
void Expand(const FuseTask& task, const std::vector<size_t>& factors, size_t k, int64_t channel, int64_t y, int64_t x, double coefficient,
            int64_t row_begin, std::vector<double>* row) {
  if (k == factors.size()) {
    (*row)[static_cast<size_t>(((channel - row_begin) * task.kernel_h + y) * task.kernel_w + x)] += coefficient;
    return;
  }
  const FuseFactor& f = task.factors[factors[k]];
  const int64_t o = channel - f.out_begin;
  if (o < 0 || o >= f.out_channels) return;
  const double scaled = f.scale == nullptr ? coefficient : coefficient * f.scale[o];
  const int64_t first = f.in_begin + o / (f.out_channels / f.groups) * f.in_per_group;
  for (int64_t i = 0; i < f.in_per_group; ++i) {
    for (int64_t u = 0; u < f.kernel_h; ++u) {
      for (int64_t v = 0; v < f.kernel_w; ++v) {
        const double w = ValueAt(f, ((o * f.in_per_group + i) * f.kernel_h + u) * f.kernel_w + v);
        Expand(task, factors, k + 1, first + i, y + u * f.step_h, x + v * f.step_w, scaled * w, row_begin, row);
      }
    }
  }
}

std::vector<double> Reference(const FuseTask& task) {
  std::vector<double> weight;
  for (int64_t o = 0; o < task.out_channels; ++o) {
    std::vector<double> row(static_cast<size_t>(task.in_per_group * task.kernel_h * task.kernel_w));
    const int64_t begin = o / (task.out_channels / task.groups) * task.in_per_group;
    for (const FuseChain& chain : task.chains) Expand(task, chain.factors, 0, o, chain.origin_h, chain.origin_w, 1.0, begin, &row);
    weight.insert(weight.end(), row.begin(), row.end());
  }
  return weight;
}

// A task of an O x I/g x 3 x 3 kernel that owns its operands.
struct Owned {
  std::vector<Floats> arrays;
  std::vector<std::vector<double>> scales;
  Floats weight, bias;
  FuseTask task;

  const Floats& Array(int64_t count) { return arrays.emplace_back(Random(count)); }
  std::span<const double> Constants(int64_t count) { return scales.emplace_back(RandomDoubles(count)); }
  const double* Scale(int64_t count) { return Constants(count).data(); }
  void Target(int64_t out, int64_t in_per_group, int64_t groups = 1) {
    arrays.reserve(8), scales.reserve(8);  // their data stays where it is
    task.out_channels = out, task.in_per_group = in_per_group, task.groups = groups, task.kernel_h = task.kernel_w = 3;
    weight.assign(static_cast<size_t>(out * in_per_group * 9), NAN);
    bias.assign(static_cast<size_t>(out), NAN);
    task.weight = weight.data(), task.bias = bias.data();
    task.biases.push_back({{}, Constants(out), 0});
  }
  FuseFactor& Add(FuseFactor f) {
    f.scale = Scale(f.out_channels);
    return task.factors.emplace_back(f);
  }
};

// 3x3, 1x1 and identity.
void RepVgg(Owned* o, int64_t channels, int64_t groups) {
  o->Target(channels, channels / groups, groups);
  o->Add(Kernel(o->Array(channels * channels / groups * 9), channels, channels / groups, 3, groups));
  o->Add(Kernel(o->Array(channels * channels / groups), channels, channels / groups, 1, groups));
  o->Add(Depthwise(1, channels, 1));
  o->task.chains = {{{1}, 1, 1}, {{0}, 0, 0}, {{2}, 1, 1}};
}

// Two 3x3 kernels, one of them twice, 1x1 and identity.
void Copies(Owned* o, int64_t channels, int64_t groups) {
  RepVgg(o, channels, groups);
  o->Add(Kernel(o->Array(channels * channels / groups * 9), channels, channels / groups, 3, groups));
  o->task.chains.push_back({{3}, 0, 0});
  o->task.chains.push_back({{0}, 0, 0});
}

// 1x1 then 3x3, 3x3 then 1x1 between depthwise maps, pooling after 1x1, and a 1x3 row.
void Diverse(Owned* o, int64_t channels, int64_t middle) {
  o->Target(channels, channels);
  o->Add(Kernel(o->Array(channels * middle * 9), channels, middle, 3));  // 0
  o->Add(Kernel(o->Array(middle * channels), middle, channels, 1));      // 1
  o->Add(Depthwise(1.0 / 9, channels, 3));                               // 2
  o->Add(Kernel(o->Array(channels * channels), channels, channels, 1));  // 3
  o->Add(Kernel(o->Array(channels * 9), channels, 1, 3, channels));      // 4
  FuseFactor& row = o->Add(Kernel(o->Array(channels * channels * 3), channels, channels, 1));
  row.kernel_w = 3;
  o->task.chains = {{{0, 1}, 0, 0}, {{2, 3}, 0, 0}, {{3, 4, 3}, 0, 0}, {{5}, 1, 0}};
  o->task.biases.push_back({{0}, o->Constants(middle), 0});
  o->task.biases.push_back({{3, 4}, o->Constants(channels), 0});
}

void ExpectNear(const Floats& got, const std::vector<double>& want) {
  double peak = 0;
  for (double v : want) peak = std::max(peak, std::fabs(v));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], peak * 1e-7) << "at " << i;
}

TEST_P(FuseTest, MatchesTheDefinitionWithTheBitsOfTheScalarLevel) {
  for (int64_t channels : {1, 7, 40}) {
    for (int kind = 0; kind < 6; ++kind) {
      Owned o;
      if (kind == 0) RepVgg(&o, channels, 1);
      if (kind == 1) RepVgg(&o, channels, channels);
      if (kind == 2) Diverse(&o, channels, 13);
      if (kind == 3) Diverse(&o, channels, 70);  // more than one block of the map in between
      if (kind == 4) Copies(&o, channels, 1);
      if (kind == 5) Copies(&o, channels, channels);
      ASSERT_TRUE(SetIsa(Isa::kScalar));
      ASSERT_TRUE(Fuse(o.task, 1).ok());
      const Floats weight = o.weight, bias = o.bias;
      ExpectNear(weight, Reference(o.task));
      ASSERT_TRUE(SetIsa(GetParam()));
      for (int threads : {1, 2, 3, 7}) {
        ASSERT_TRUE(Fuse(o.task, threads).ok());
        ASSERT_EQ(std::memcmp(weight.data(), o.weight.data(), weight.size() * 4), 0);
        ASSERT_EQ(std::memcmp(bias.data(), o.bias.data(), bias.size() * 4), 0);
      }
    }
  }
}

TEST_P(FuseTest, InPlaceGivesTheSameBits) {
  for (int64_t channels : {1, 40, 300}) {
    for (bool diverse : {false, true}) {
      if (diverse && channels > 40) continue;
      Owned o;
      if (diverse) Diverse(&o, channels, channels);
      else RepVgg(&o, channels, 1);
      FuseStats stats;
      ASSERT_TRUE(Fuse(o.task, 2, &stats).ok());
      EXPECT_FALSE(stats.in_place);
      const Floats weight = o.weight;
      o.task.weight = o.arrays[0].data();
      ASSERT_TRUE(Fuse(o.task, 2, &stats).ok());
      EXPECT_TRUE(stats.in_place);
      ASSERT_EQ(std::memcmp(weight.data(), o.arrays[0].data(), weight.size() * 4), 0);
    }
  }
}

TEST_P(FuseTest, EveryValueIsScanned) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    for (int64_t at : {0, 1, 31, 32, 63, 64, 1000, 40 * 40 * 9 - 1}) {
      Owned o;
      RepVgg(&o, 40, 1);
      o.arrays[0][static_cast<size_t>(at)] = bad;
      o.task.weight = o.arrays[0].data();
      const Floats before = o.arrays[0];
      const Status status = Fuse(o.task, 2);
      EXPECT_EQ(status.code, Code::kNotFinite);
      EXPECT_EQ(status.where, 0);
      EXPECT_EQ(std::memcmp(before.data(), o.arrays[0].data(), before.size() * 4), 0);
    }
  }
}

TEST_P(FuseTest, OnePassFindsEveryValueThatIsNotFinite) {
  for (int64_t channels : {3, 40}) {
    for (bool diverse : {false, true}) {
      Owned good;
      if (diverse) Diverse(&good, channels, channels);
      else RepVgg(&good, channels, 1);
      ASSERT_TRUE(Fuse(good.task, 2).ok());
      const Floats want = good.weight;
      good.task.check = FuseCheck::kDuring;
      ASSERT_TRUE(Fuse(good.task, 2).ok());
      ASSERT_EQ(std::memcmp(want.data(), good.weight.data(), want.size() * 4), 0);
      for (size_t array = 0; array < good.arrays.size(); ++array) {
        for (float bad : {NAN, INFINITY}) {
          for (size_t at = 0; at < good.arrays[array].size(); at += std::max<size_t>(1, good.arrays[array].size() / 97)) {
            const float was = std::exchange(good.arrays[array][at], bad);
            const Status status = Fuse(good.task, 2);
            ASSERT_EQ(status.code, Code::kNotFinite);
            ASSERT_EQ(good.task.factors[static_cast<size_t>(status.where)].data, good.arrays[array].data());
            good.arrays[array][at] = was;
          }
        }
      }
      good.scales[0].back() = NAN;  // the output bias
      ASSERT_EQ(Fuse(good.task, 2).code, Code::kNotFinite);
    }
  }
}

TEST_P(FuseTest, OnePassInPlaceFindsWhatItOverwrites) {
  for (size_t at : {0, 1, 700, 40 * 40 * 9 - 1}) {
    Owned o;
    RepVgg(&o, 40, 1);
    o.task.check = FuseCheck::kDuring;
    o.task.weight = o.arrays[0].data();
    o.arrays[0][at] = INFINITY;
    EXPECT_EQ(Fuse(o.task, 2).code, Code::kNotFinite);
    for (float& v : o.arrays[0]) v = 1;
    o.arrays[0][at] = 3e38f;
    for (double& scale : o.scales[1]) scale = 2.0;  // of the 3x3 kernel
    const Status status = Fuse(o.task, 2);
    EXPECT_EQ(status.code, Code::kNotFinite);
    EXPECT_EQ(status.where, -1);
  }
}

TEST_P(FuseTest, OverflowIsFoundBeforeAnythingIsWritten) {
  Owned o;
  RepVgg(&o, 40, 1);
  o.arrays[0][40 * 40 * 9 - 1] = 3e38f;
  o.scales[1].back() = 2.0;  // of the 3x3 kernel
  o.task.weight = o.arrays[0].data();
  const Floats before = o.arrays[0];
  const Status status = Fuse(o.task, 2);
  EXPECT_EQ(status.code, Code::kNotFinite);
  EXPECT_EQ(status.where, -1);
  EXPECT_EQ(std::memcmp(before.data(), o.arrays[0].data(), before.size() * 4), 0);
  o.scales[1].back() = 1.0;  // the same bound is no overflow
  EXPECT_TRUE(Fuse(o.task, 2).ok());
}

TEST_P(FuseTest, HalfTypesWidenExactly) {
  std::vector<uint16_t> halves;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00) != 0x7c00) halves.push_back(static_cast<uint16_t>(bits));
  }
  Floats weight(halves.size()), bias(1);
  const double zero = 0;
  FuseTask task;
  task.out_channels = 1, task.in_per_group = static_cast<int64_t>(halves.size());
  FuseFactor f;
  f.type = FuseType::kF16, f.data = halves.data(), f.out_channels = 1, f.in_per_group = task.in_per_group;
  task.factors = {f};
  task.chains = {{{0}, 0, 0}};
  task.biases = {{{}, {&zero, 1}, 0}};
  task.weight = weight.data(), task.bias = bias.data();
  ASSERT_TRUE(Fuse(task, 1).ok());
  for (size_t i = 0; i < halves.size(); ++i) {
    const int exponent = halves[i] >> 10 & 31, fraction = halves[i] & 1023;
    const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    ASSERT_EQ(weight[i], halves[i] & 0x8000 ? -magnitude : magnitude);
  }
}

// A row whose every value, bias included, lies next to the middle between two values of bfloat16.
TEST_P(FuseTest, RoundsToOddForHalfTypes) {
  for (const bool pointwise : {false, true}) {
    Floats kernel(9 * 8, 1.0f), small(8, 1.0f), bias(2), out(9 * 8);
    const double middle = 1 + 0x1p-8, near[] = {std::nextafter(middle, 2.0), std::nextafter(middle, 1.0)};
    FuseTask task;
    task.out_channels = 2, task.in_per_group = 4, task.kernel_h = task.kernel_w = 3;
    task.factors = {Kernel(kernel, 2, 4, 3)};
    task.factors[0].scale = near;
    task.chains = {{{0}, 0, 0}};
    if (pointwise) {
      task.factors.push_back(Kernel(small, 2, 4, 1));
      task.factors[1].scale = near;
      task.chains.push_back({{1}, 1, 1});
    }
    task.biases = {{{}, near, 0}};
    task.weight = out.data(), task.bias = bias.data();
    for (const FuseRounding rounding : {FuseRounding::kNearest, FuseRounding::kToOdd}) {
      task.rounding = rounding;
      ASSERT_TRUE(Fuse(task, 1).ok());
      // Rounded twice, the values above and below the middle become the same.
      const bool told_apart = FloatToBf16(out[0]) != FloatToBf16(out[36]) && FloatToBf16(bias[0]) != FloatToBf16(bias[1]) &&
                              FloatToBf16(out[4]) != FloatToBf16(out[40]);
      EXPECT_EQ(told_apart, rounding == FuseRounding::kToOdd) << pointwise;
    }
  }
}

// Changes one number of a task to something that may not fit; never beyond the memory behind the arrays.
void Mutate(FuseTask* task, std::mt19937* engine) {
  const int64_t extremes[] = {-1,        0,        1, 2, 3, 4, 5, 8, 9, 1000, int64_t{1} << 31, (int64_t{1} << 31) + 1, int64_t{1} << 62,
                              INT64_MAX, INT64_MIN};
  const auto pick = [&](size_t n) { return static_cast<size_t>((*engine)() % n); };
  const int64_t value = extremes[pick(std::size(extremes))];
  FuseFactor& f = task->factors[pick(task->factors.size())];
  FuseChain& chain = task->chains[pick(task->chains.size())];
  FuseBias& bias = task->biases[pick(task->biases.size())];
  const auto smaller = [&](int64_t& field) { field = std::min(field, value); };
  const auto index = [&](std::vector<size_t>& factors) {
    if (pick(3) == 0) factors.clear();
    else if (factors.empty() || pick(2) == 0) factors.push_back(static_cast<size_t>(value));
    else factors[pick(factors.size())] = pick(task->factors.size() + 1);
  };
  switch (pick(20)) {
    case 0: f.out_begin = value; break;
    case 1: f.in_begin = value; break;
    case 2: f.step_h = value; break;
    case 3: f.step_w = value; break;
    case 4: f.groups = value; break;
    case 5: smaller(f.out_channels); break;
    case 6: smaller(f.in_per_group); break;
    case 7: smaller(f.kernel_h); break;
    case 8: smaller(f.kernel_w); break;
    case 9: f.type == FuseType::kConstant ? f.out_channels = f.groups = value : value; break;
    case 10: f.type == FuseType::kConstant ? f.kernel_h = value : value; break;
    case 11: chain.origin_h = value; break;
    case 12: chain.origin_w = value; break;
    case 13: index(chain.factors); break;
    case 14: index(bias.factors); break;
    case 15: bias.begin = value; break;
    case 16: bias.constants = bias.constants.first(std::min(bias.constants.size(), static_cast<size_t>(value))); break;
    case 17: task->groups = value; break;
    case 18: smaller(task->kernel_w); break;
    case 19: smaller(task->in_per_group); break;
  }
}

TEST(FuseTaskTest, HostileTasksGetAStatusAndTouchNothingElse) {
  std::mt19937 engine(5);
  int refused = 0, ran = 0;
  for (int round = 0; round < 20000; ++round) {
    Owned o;
    if (round % 2 == 0) Diverse(&o, 8, 5);
    else RepVgg(&o, 8, 2);
    for (FuseFactor& f : o.task.factors) f.scale = f.type == FuseType::kConstant ? nullptr : f.scale;  // its channels may grow
    constexpr size_t kGuard = 64;
    Floats room(o.weight.size() + 2 * kGuard, 7.0f);
    o.task.weight = room.data() + kGuard;
    if (round % 4 == 1) o.task.weight = o.arrays[0].data();
    const std::vector<Floats> before = o.arrays;
    for (uint32_t n = 1 + engine() % 3; n > 0; --n) Mutate(&o.task, &engine);
    const Status status = Fuse(o.task, 1 + static_cast<int>(engine() % 3));
    (status.ok() ? ran : refused)++;
    for (size_t i = 0; i < kGuard; ++i) ASSERT_TRUE(room[i] == 7.0f && room[room.size() - 1 - i] == 7.0f);
    for (size_t i = 0; i < before.size(); ++i) {
      if (status.ok() && o.task.weight == o.arrays[i].data()) continue;
      ASSERT_EQ(before[i], o.arrays[i]) << "status " << status.message;
    }
  }
  EXPECT_GT(refused, 5000);
  EXPECT_GT(ran, 1000);
}

TEST(FuseTaskTest, RefusesWhatOverlaps) {
  Owned o;
  RepVgg(&o, 8, 1);
  const auto refused = [&](auto change) {
    FuseTask task = o.task;
    change(task);
    return CheckFuseTask(task).code == Code::kInvalidArgument;
  };
  float* const large = o.arrays[0].data();
  EXPECT_FALSE(refused([&](FuseTask& task) { task.weight = large; }));
  EXPECT_TRUE(refused([&](FuseTask& task) { task.weight = large + 1; }));
  EXPECT_TRUE(refused([&](FuseTask& task) { task.bias = large; }));
  EXPECT_TRUE(refused([&](FuseTask& task) { task.bias = task.weight + 3; }));
  EXPECT_TRUE(refused([&](FuseTask& task) { task.weight = o.arrays[1].data(); }));
  EXPECT_TRUE(refused([&](FuseTask& task) {
    task.weight = large;
    task.factors[1].data = large;
  }));
  EXPECT_TRUE(refused([&](FuseTask& task) {
    task.weight = large;
    task.chains.push_back({{1, 0}, 0, 0});  // read as an inner kernel
  }));
  EXPECT_TRUE(refused([&](FuseTask& task) {
    task.weight = large;
    task.biases.push_back({{1, 0}, o.Constants(8), 0});
  }));
  EXPECT_TRUE(refused([&](FuseTask& task) { task.weight = nullptr; }));
}

REPFUSE_FOR_ISAS(FuseTest);

}  // namespace
}  // namespace repfuse
