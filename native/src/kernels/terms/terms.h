// Float32 values as sums of bf16 terms: x = t0 + t1 + t2, each term the rest rounded to nearest, ties to even. Three hold every float32
// whose terms stay in range (at least 2^-110); two hold it to 2^-17, one to 2^-8. An infinity's later terms are NaN.
#pragma once

#include <cstdint>

namespace repfuse {

// Pixels of 16 channels, x: [pixel][16], to y: [pixel][pitch] of each term; the terms lie `term` elements apart.
struct TermRow {
  const float* x;
  int64_t pixels;
  uint16_t* y;
  int64_t pitch, term;
};
void SplitRowScalar(const TermRow& row, int terms);

// Up to four planes, of which those that do not exist are null, to y: [pixel][4] of each term.
struct TermPlanes {
  const float* planes[4];
  int64_t pixels;
  uint16_t* y;
  int64_t term;
};
void SplitPlanesScalar(const TermPlanes& row, int terms);

#if defined(__x86_64__)
void SplitRowAvx512(const TermRow& row, int terms);
void SplitPlanesAvx512(const TermPlanes& row, int terms);
#endif

}  // namespace repfuse
