// What this CPU can do. The only question the rest of the core asks of the machine.
#pragma once

namespace repfuse {

// Each level has what the one before it has, and more.
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3, kAmx = 4 };
inline constexpr int kIsaCount = 5;

const char* IsaName(Isa isa);
// Whether CPU and operating system both support the level (CPUID and XGETBV; for AMX the system's permission, asked for once).
bool IsaSupported(Isa isa);
Isa BestIsa();

}  // namespace repfuse
