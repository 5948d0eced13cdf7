// CPU detection. Compiled without any ISA flag: this file must run everywhere.
#include "repfuse/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace repfuse {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "unknown";
}

#if defined(__x86_64__)
namespace {

// Register state that the operating system saves on a context switch (XCR0).
uint64_t EnabledState() {
  uint32_t lo = 0, hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t{hi} << 32) | lo;
}

struct Features {
  bool avx2 = false;
  bool avx512 = false;

  Features() {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool osxsave = (c >> 27) & 1, avx = (c >> 28) & 1, fma = (c >> 12) & 1, f16c = (c >> 29) & 1;
    if (!osxsave || !avx) return;
    const uint64_t state = EnabledState();
    if ((state & 0x6) != 0x6) return;  // XMM and YMM
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    avx2 = ((b >> 5) & 1) && fma && f16c;
    const bool f = (b >> 16) & 1, dq = (b >> 17) & 1, bw = (b >> 30) & 1, vl = (b >> 31) & 1;
    avx512 = avx2 && f && dq && bw && vl && (state & 0xE6) == 0xE6;  // opmask, ZMM
  }
};

const Features& GetFeatures() {
  static const Features features;
  return features;
}

}  // namespace

bool IsaSupported(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return true;
    case Isa::kAvx2: return GetFeatures().avx2;
    case Isa::kAvx512: return GetFeatures().avx512;
  }
  return false;
}
#else
bool IsaSupported(Isa isa) { return isa == Isa::kScalar; }
#endif

Isa BestIsa() {
  if (IsaSupported(Isa::kAvx512)) return Isa::kAvx512;
  if (IsaSupported(Isa::kAvx2)) return Isa::kAvx2;
  return Isa::kScalar;
}

}  // namespace repfuse
