// The scan of a fuse task's operands.
#pragma once

#include "repfuse/fuse.h"

namespace repfuse::fuse {

// Every value that the factors and constants hold is finite: reads each and writes nothing. `may_overflow` is false when the
// largest values prove that no result can leave float32.
Status CheckValues(const FuseTask& task, int threads, bool* may_overflow);

}  // namespace repfuse::fuse
