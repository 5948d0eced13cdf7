// CPU detection. Compiled without any ISA flag: this file must run everywhere.
#include "repfuse/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>
#endif

namespace repfuse {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512bf16";
    case Isa::kAmx: return "amx";
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

// Asks the system to keep tiles for this process (arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), Linux 5.16); it may refuse.
bool MayUseTiles() {
#if defined(__linux__)
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return false;
#endif
}

struct Features {
  bool avx2 = false;
  bool avx512 = false;
  bool avx512bf16 = false;
  bool amx = false;

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
    const bool tiles = ((d >> 24) & 1) && ((d >> 22) & 1);           // and their bf16 product
    avx512bf16 = avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && ((a >> 5) & 1);
    amx = avx512bf16 && tiles && (state & 0x60000) == 0x60000 && MayUseTiles();
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
    case Isa::kAvx512Bf16: return GetFeatures().avx512bf16;
    case Isa::kAmx: return GetFeatures().amx;
  }
  return false;
}
#else
bool IsaSupported(Isa isa) { return isa == Isa::kScalar; }
#endif

Isa BestIsa() {
  for (int level = kIsaCount - 1; level > 0; --level) {
    if (IsaSupported(static_cast<Isa>(level))) return static_cast<Isa>(level);
  }
  return Isa::kScalar;
}

}  // namespace repfuse
