// Micro-kernels of the packed matrix product C[m, n] (+)= A[m, k] B[k, n].
//
// A is packed in panels of MR rows, k-major ([k][MR], rows past the end are zero); B in panels of NR columns, k-major ([k][NR],
// columns past the end are zero). One call makes one MR x NR tile of C, of which rows x columns are stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repfuse {

struct GemmTile {
  int64_t k;            // length of the reduction in this call
  const float* a;       // [k][MR]
  const float* b;       // [k][NR]
  float* c;             // first element of the tile, row stride ldc
  int64_t ldc;
  int rows, columns;    // what to store: 1..MR, 1..NR
  const float* start;   // [MR] initial value per row (the bias), or null to go on from what C holds
  bool relu;            // clamp at zero when storing (the last call of a reduction)
};

void GemmTile__scalar(const GemmTile& tile);
float Dot__scalar(const float* a, const float* b, size_t n);
#if defined(__x86_64__)
void GemmTile__avx2(const GemmTile& tile);
float Dot__avx2(const float* a, const float* b, size_t n);
void GemmTile__avx512(const GemmTile& tile);
float Dot__avx512(const float* a, const float* b, size_t n);
#endif

}  // namespace repfuse
