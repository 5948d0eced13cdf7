// The CPU levels that this machine can run, for value-parameterised tests.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "repfuse/kernels.h"

namespace repfuse {

inline std::vector<Isa> AvailableIsas() {
  std::vector<Isa> found;
  for (int i = 0; i < kIsaCount; ++i) {
    if (IsaSupported(static_cast<Isa>(i))) found.push_back(static_cast<Isa>(i));
  }
  return found;
}

class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override { ASSERT_TRUE(SetIsa(GetParam())); }
  void TearDown() override { SetIsa(BestIsa()); }
};

#define REPFUSE_FOR_ISAS(suite)                                             \
  INSTANTIATE_TEST_SUITE_P(Isas, suite, testing::ValuesIn(AvailableIsas()), \
                           [](const auto& info) { return std::string(IsaName(info.param)); })

}  // namespace repfuse
