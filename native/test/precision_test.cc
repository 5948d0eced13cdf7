// What each precision promises of the largest sum of magnitudes of a layer's terms (docs/precision.md), whatever the data: every way to
// compute a convolution, at every level, against filters and inputs made to lose most. REPFUSE_WIDE_LAYERS adds wider layers and more
// sizes.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string_view>

#include "adversaries.h"
#include "emulated_tiles.h"
#include "isa_levels.h"

namespace repfuse {
namespace {

struct Way {
  Algorithm algorithm;
  Precision precision;
  const char* kernel;  // what its name holds
};
constexpr Way kWays[] = {{Algorithm::kDirect, Precision::kF32, "direct"},
                         {Algorithm::kWinograd2, Precision::kF32, "winograd F(2"},
                         {Algorithm::kWinograd42, Precision::kF32, "winograd F(4x2"},
                         {Algorithm::kWinograd4, Precision::kF32, "winograd F(4,"},
                         {Algorithm::kProducts, Precision::kF32, "bf16x6"},
                         {Algorithm::kProducts, Precision::kFast, "bf16x3"},
                         {Algorithm::kProducts, Precision::kBf16, "bf16 "}};

double Promise(Precision precision) { return precision == Precision::kF32 ? 5e-5 : precision == Precision::kFast ? 1e-4 : 1e-2; }
// Where many channels carry the sums, which are of both signs.
constexpr double kEven = 5e-7, kCommon = 2.5e-7;  // and where they have a component in common
constexpr int64_t kWide = 256;

class PrecisionTest : public testing::Test {
 protected:
  void TearDown() override { SetIsa(BestIsa()); }

  void Try(const TriedLayer& layer) {
    std::vector<const KernelTable*> tables{&EmulatedAmxTable()};
    for (const Isa isa : AvailableIsas()) {
      ASSERT_TRUE(SetIsa(isa));
      tables.push_back(&Kernels());
    }
    for (const TriedFilter& filter : TriedFilters()) {
      for (const TriedInput& input : TriedInputs()) {
        const Tried tried(layer, filter, input);
        for (const KernelTable* table : tables) {
          const bool emulated = table == tables[0];
          SetKernels(*table);
          for (const Way& way : kWays) {
            const bool winograd = std::string_view(way.kernel).starts_with("winograd");
            const bool products =
                way.algorithm == Algorithm::kProducts && table->products.terms >= (way.precision == Precision::kF32    ? 3
                                                                                   : way.precision == Precision::kFast ? 2
                                                                                                                       : 1);
            // Tiles are emulated slowly, and float32 is that of the level below.
            if ((winograd && layer.kernel != 3) || (way.algorithm == Algorithm::kProducts) != products || (emulated && !products)) continue;
            std::string kernel;
            const double error = tried.Error({.algorithm = way.algorithm, .precision = way.precision}, &kernel);
            const std::string about = kernel + " at " + (emulated ? "emulated amx" : IsaName(table->isa)) + ", " +
                                      std::to_string(layer.in) + " channels, " + filter.name + ", " + input.name;
            ASSERT_NE(kernel.find(way.kernel), std::string::npos) << about;
            ASSERT_LE(error, Promise(way.precision)) << about;
            if (filter.even && input.even && layer.in >= kWide && way.precision == Precision::kF32)
              ASSERT_LE(error, std::string(input.name).rfind("common", 0) == 0 ? kCommon : kEven) << about;
            ++tried_[way.kernel];
          }
        }
      }
    }
  }

  std::map<std::string, int> tried_;
};

TEST_F(PrecisionTest, OfTheSumOfMagnitudesWhateverTheData) {
  std::vector<TriedLayer> layers = {{64, 16, 12, 3}, {kWide, 16, 9, 3}, {512, 16, 4, 1}, {20, 16, 8, 7}};
  if (std::getenv("REPFUSE_WIDE_LAYERS") != nullptr) {
    for (const TriedLayer& wide : {TriedLayer{kWide, 64, 32, 3},
                                   {512, 32, 24, 3},
                                   {1024, 32, 16, 3},
                                   {2048, 32, 8, 1},
                                   {64, 32, 16, 5},
                                   {3, 64, 40, 7},
                                   {16, 64, 40, 3}})
      layers.push_back(wide);
  }
  for (const TriedLayer& layer : layers) Try(layer);
  for (const Way& way : kWays) EXPECT_GT(tried_[way.kernel], 100) << way.kernel;
}

// From 128 on a sum that is added to loses almost half of its last place each time, always to the same side: as much as there are additions
// in its chain. Of maps, of single pixels, of windows.
TEST_F(PrecisionTest, LongSumsOfOneSignDoNotDrift) {
  const TriedFilter drifting{"drifting", false,
                             [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937&) { return 1 + 63 * 0x1p-23f; }};
  const TriedInput ones{"ones", false, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937&) { return 1.0f; }};
  for (const TriedLayer& layer : {TriedLayer{1024, 40, 12, 1}, {1016, 16, 1, 1}, {kWide, 16, 9, 3}, {8, 16, 9, 7}}) {
    const Tried tried(layer, drifting, ones);
    for (const Isa isa : AvailableIsas()) {
      ASSERT_TRUE(SetIsa(isa));
      std::string kernel;
      EXPECT_LE(tried.Error({.algorithm = Algorithm::kDirect}, &kernel), 4e-7) << kernel << " at " << IsaName(isa);
      EXPECT_EQ(kernel.rfind("direct", 0), 0u) << kernel;
    }
  }
}

// That what is tried is what a network gets.
TEST_F(PrecisionTest, AWideLayerIsWinogradsByItself) {
  for (const Isa isa : AvailableIsas()) {
    if (isa == Isa::kAmx) continue;
    ASSERT_TRUE(SetIsa(isa));
    std::string kernel;
    const Tried tried({kWide, 64, 14, 3}, TriedFilters()[1], TriedInputs()[2]);
    EXPECT_LE(tried.Error({}, &kernel, true), kCommon);
    EXPECT_EQ(kernel.rfind("winograd F(", 0), 0u) << IsaName(isa) << " " << kernel;
  }
}

}  // namespace
}  // namespace repfuse
