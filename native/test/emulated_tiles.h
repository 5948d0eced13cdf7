// Matrix tiles in plain C++, for machines without them: each instruction as its manual defines it (Intel, Instruction Set Extensions
// Programming Reference, TDPBF16PS), so that the loops over tiles, and the engine around them, are tested everywhere.
#pragma once

#include "repfuse/kernels.h"

namespace repfuse {

// The best table of this CPU as if it had AMX.
const KernelTable& EmulatedAmxTable();

}  // namespace repfuse
