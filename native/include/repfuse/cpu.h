// What this CPU can do. The only question the rest of the core asks of the machine.
#pragma once

namespace repfuse {

enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2 };
inline constexpr int kIsaCount = 3;

const char* IsaName(Isa isa);
// Whether CPU and operating system both support the level (CPUID and XGETBV).
bool IsaSupported(Isa isa);
Isa BestIsa();

}  // namespace repfuse
