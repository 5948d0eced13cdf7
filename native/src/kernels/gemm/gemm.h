// Micro-kernels of the matrix product C[m, n] = A[m, k] B[k, n].
//
// A is read where it lies, row-major: a weight serves only as many products as there are pixels, and with few of them packing it costs
// more than it saves. B is packed in panels of NR columns, k-major ([k][NR]). One call makes one MR x NR tile of C, of which
// rows x columns are stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repfuse {

struct GemmTile {
  int64_t k;       // length of the reduction in this call
  const float* a;  // [rows][k], row stride lda
  int64_t lda;
  const float* b;  // [k][NR]; columns past the end may hold anything
  float* c;        // first element of the tile, row stride ldc
  int64_t ldc;
  int rows, columns;  // of this tile: 1..MR, 1..NR
  bool accumulate;    // add to what C holds (a reduction in several calls, each summed by itself)
  const float* bias;  // [rows] initial values if not, or null for zero
  bool relu;          // clamp at zero when storing (the last call of a reduction)
};

}  // namespace repfuse
