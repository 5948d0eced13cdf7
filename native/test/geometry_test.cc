// Networks of odd geometry (see geometry_networks.h): each is refused by a status, or gives what the reference gives. REPFUSE_GEOMETRY_CASES is how
// many; `npm run trust` runs ten thousand under sanitizers.
#include <gtest/gtest.h>

#include <cstdlib>

#include "geometry_networks.h"
#include "isa_levels.h"
#include "network_reference.h"

namespace repfuse {
namespace {

constexpr int64_t kMostElements = 1 << 18;
constexpr int64_t kMemoryLimit = int64_t{256} << 20;

// Of the peak: far more than any kernel loses, far less than a pixel in the wrong place.
double Tolerance(Precision precision) { return precision == Precision::kF32 ? 2e-4 : precision == Precision::kFast ? 2e-3 : 8e-2; }

struct Expected {
  enum class Kind { kValues, kRefused, kTooLarge } kind = Kind::kValues;
  std::vector<reference::Values> values;
  bool finite = true;
  double peak = 0;  // of all values
};

Expected Expect(const GeometryCase& c, const std::vector<float>& x) {
  Expected expected;
  try {
    expected.values = reference::Evaluator(c.network, kMostElements).Run({{c.input.batch, c.input.channels, c.input.height, c.input.width}, {x.begin(), x.end()}});
  } catch (const reference::Refused&) {
    expected.kind = Expected::Kind::kRefused;
  } catch (const reference::TooLarge&) {
    expected.kind = Expected::Kind::kTooLarge;
  }
  for (const auto& values : expected.values) {
    for (const double value : values.data) {
      if (!std::isfinite(value)) expected.finite = false;
      else expected.peak = std::max(expected.peak, std::abs(value));
    }
  }
  return expected;
}

// What became of a case, in counts.
struct Tally {
  int values = 0, refused = 0, large = 0, plain = 0;
};

void RunCase(GeometryCase c, uint32_t seed, Tally* tally) {
  std::mt19937 random(seed);
  const auto x = RandomFloats(static_cast<size_t>(c.input.batch * c.input.channels * c.input.height * c.input.width), random);
  const Expected expected = Expect(c, x);
  const std::vector<int> outputs = c.network.outputs;
  c.options.memory = {.most = kMemoryLimit, .least = kMemoryLimit};
  const int threads = 1 + static_cast<int>(seed % 3);
  std::shared_ptr<Engine> engine;
  Status status = Engine::Create(std::move(c.network), c.options, &engine);
  if (status.ok()) status = engine->Prepare(c.input, threads);
  if (expected.kind == Expected::Kind::kTooLarge) {
    ++tally->large;  // compiled within the limit, or not
    return;
  }
  if (expected.kind == Expected::Kind::kRefused) {
    ++tally->refused;
    ASSERT_FALSE(status.ok());
    return;
  }
  ++tally->values;
  ASSERT_TRUE(status.ok()) << status.message << " at " << status.where;
  std::vector<StepReport> steps;
  ASSERT_TRUE(engine->Explain(c.input, threads, &steps).ok());
  if (c.options.algorithm != Algorithm::kFloat64) {
    tally->plain += std::any_of(steps.begin(), steps.end(), [](const StepReport& step) { return step.kernel == "float64"; });
  }
  std::vector<std::vector<float>> results;
  std::vector<float*> pointers;
  for (const int output : outputs) results.emplace_back(expected.values[static_cast<size_t>(output)].data.size(), NAN);
  for (auto& result : results) pointers.push_back(result.data());
  for (int round = 0; round < 2; ++round) ASSERT_TRUE(engine->Run(c.input, x.data(), pointers.data(), threads).ok());
  if (!expected.finite) return;  // windows of nothing but padding
  for (size_t k = 0; k < outputs.size(); ++k) {
    const auto& want = expected.values[static_cast<size_t>(outputs[k])];
    for (size_t i = 0; i < want.data.size(); ++i) {
      ASSERT_LE(std::abs(static_cast<double>(results[k][i]) - want.data[i]), Tolerance(c.options.precision) * expected.peak) << "element " << i << " of output " << k;
    }
  }
}

uint32_t Cases() {
  const char* asked = std::getenv("REPFUSE_GEOMETRY_CASES");
  return asked == nullptr ? 600 : static_cast<uint32_t>(std::strtoul(asked, nullptr, 10));
}

TEST(GeometryTest, RandomNetworksAreRefusedOrGiveWhatTheReferenceGives) {
  const std::vector<Isa> isas = AvailableIsas();
  Tally tally;
  for (uint32_t seed = 0; seed < Cases(); ++seed) {
    GeometryCase c = GeometryGenerator(seed).Make();
    const Isa isa = isas[seed % isas.size()];
    ASSERT_TRUE(SetIsa(isa));
    SCOPED_TRACE("seed " + std::to_string(seed) + " on " + IsaName(isa) + ", algorithm " + std::to_string(static_cast<int>(c.options.algorithm)) + ", precision " +
                 std::to_string(static_cast<int>(c.options.precision)) + ": " + c.text);
    RunCase(std::move(c), seed, &tally);
    if (HasFatalFailure()) break;
  }
  SetIsa(BestIsa());
  RecordProperty("values", tally.values);
  // The generator reaches every kind of case.
  EXPECT_GT(tally.values, static_cast<int>(Cases() / 3));
  EXPECT_GT(tally.refused, 0);
  EXPECT_GT(tally.large, 0);
  EXPECT_GT(tally.plain, 0);
}

}  // namespace
}  // namespace repfuse
