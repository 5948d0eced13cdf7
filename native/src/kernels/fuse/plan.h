// What the checks and the pass of a fuse plan share.
#pragma once

#include "repfuse/fuse.h"

namespace repfuse::fuse {

struct Span {
  int64_t begin, end;
};

// Input channels that row `row` of the target kernel covers.
Span RowChannels(const FusePlan& plan, int64_t row);
// Whether the chain's first kernel lies in the result's buffer in a way that lets it be overwritten row by row.
bool FusesInPlace(const FusePlan& plan, const FuseChain& chain);

Status CheckShapes(const FusePlan& plan);
Status CheckOverlap(const FusePlan& plan, bool* in_place);
// Every value that the chains and constants hold is finite: reads each once and writes nothing. `may_overflow` is false when the
// largest values prove that no fused weight can leave float32.
Status CheckValues(const FusePlan& plan, int threads, bool* may_overflow);

}  // namespace repfuse::fuse
