// The bias of a fused kernel: constants seen through the factors that follow them.
#pragma once

#include <vector>

#include "factor.h"

namespace repfuse::fuse {

class BiasTerms {
 public:
  // Carries the constants through all factors but the first, whose rows are read with those of the weight.
  explicit BiasTerms(const FuseTask& task);

  // Bias of output channel `row`.
  double At(int64_t row) const;

 private:
  struct Term {                // constants on the channels of the map before `factor`
    const FuseFactor* factor;  // null: on the output
    Span channels;
    std::vector<double> values;
  };

  static Term Carry(const FuseTask& task, const FuseBias& bias);
  static double TermRow(const Term& term, int64_t o);

  std::vector<Term> terms_;
};

}  // namespace repfuse::fuse
