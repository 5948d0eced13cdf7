// The kernel table: one function pointer per micro-kernel, made for each level in src/kernels/levels/ and chosen in src/cpu/dispatch.cc.
// Operators fetch the table once per call, so a change of level never splits an operation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "repfuse/cpu.h"

namespace repfuse {

// y[i] = max(x[i], 0); NaN stays NaN. x may equal y.
using UnaryF32 = void (*)(const float* x, float* y, size_t n);
// A function with up to two parameters. x may equal y.
using FunctionF32 = void (*)(const float* x, float* y, size_t n, float alpha, float beta);
// y[i] = a[i] + b[i].
using BinaryF32 = void (*)(const float* a, const float* b, float* y, size_t n);

// Inner loops of fusing, see src/kernels/fuse/rows.h.
using FuseScaleRow = void (*)(double* acc, const float* w, double scale, size_t n);
using FuseFinishRow = bool (*)(const double* acc, const float* w, double scale, float* out, size_t n);
using FusePatchRow = bool (*)(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w,
                              double scale, float* out, size_t channels);
using FuseScanRow = uint32_t (*)(const float* w, size_t n);
using FuseProductRows = void (*)(const double* c, size_t rows, size_t taps, const float* w, size_t pitch, size_t columns, double* out);
inline constexpr size_t kFuseTaps = 16, kFuseColumns = 32, kFusePatchTaps = 64;

// A tile of the packed matrix product with its register blocking, see src/kernels/gemm/gemm.h.
struct GemmTile;
struct GemmKernel {
  const char* name;
  int rows, columns;  // MR, NR
  int lanes;          // of a vector; columns are a whole number of vectors
  int64_t k_block;    // rows of B in one panel, which stays in L1; additions one after the other before their sum joins what C holds
  void (*run)(const GemmTile& tile);
};
using DotF32 = float (*)(const float* a, const float* b, size_t n);
// Writes `rows` rows of a panel of the im2col matrix (src/kernels/conv/panel.h), beginning with tap `tap` (u * kernel_w + v) of the
// channel; then come the next channels.
struct PanelGeometry;
using PackPanelF32 = void (*)(const PanelGeometry& geometry, const float* channel, int64_t tap, int64_t rows, float* panel);
// Output rows of a depthwise filter, see src/kernels/depthwise/rows.h.
struct DepthwiseRows;
using DepthwiseRowsF32 = void (*)(const DepthwiseRows& rows);

// Functions of two numbers, see src/kernels/elementwise/binary_rows.h.
struct BinaryRows;
struct BinaryKernels {
  void (*add)(const BinaryRows& rows);
  void (*sub)(const BinaryRows& rows);
  void (*mul)(const BinaryRows& rows);
  void (*div)(const BinaryRows& rows);
  void (*prelu)(const BinaryRows& rows);
  void (*min)(const BinaryRows& rows);
  void (*max)(const BinaryRows& rows);
};

// The sum of a map and windows on one, see src/kernels/pool/.
struct MapSum;
struct RowSums16;
struct PoolWindows;

// Tiles over blocks of 16 channels, see src/kernels/blocked/.
struct ConvTile;
struct DepthwiseTile;
struct WinogradInput;
struct WinogradOutput;
struct FinishedRow;
struct AffineRow;
struct PickedLanes;
struct WinogradKernels {
  void (*input)(const WinogradInput& tile);
  void (*output)(const WinogradOutput& tile);
};
struct BlockedKernels {
  const char* name;
  int max_blocks;     // of output channels in a convolution's tile
  int max_pixels[4];  // of a row, by the number of blocks
  void (*conv)(const ConvTile& tile, int blocks, int pixels);
  void (*depthwise)(const DepthwiseTile& tile, int pixels);
  int depthwise_rows;                                // the most that a tile takes
  WinogradKernels winograd2, winograd42, winograd4;  // 2 x 2 outputs a tile; 4 rows of 2; 4 x 4
  void (*finish)(const FinishedRow& row);
  void (*affine)(const AffineRow& row);
  int lanes;  // of a vector
  void (*pick_lanes)(const PickedLanes& picked);
  // Functions of one number; x may equal y.
  UnaryF32 sigmoid, silu, hardswish, exp, tanh, erf, softplus, softsign, gelu, gelu_tanh, mish, abs, negative, reciprocal, root;
  FunctionF32 leaky_relu, hard_sigmoid, clip, elu, celu, selu, thresholded_relu, shrink;
  void (*sum_map)(const MapSum& map);
  void (*sum_rows)(const RowSums16& rows);
  void (*max_windows)(const PoolWindows& windows);
  void (*mean_windows)(const PoolWindows& windows);
};

// Float32 values as bf16 terms, see src/kernels/terms/.
struct TermRow;
struct TermPlanes;
struct TermKernels {
  void (*row)(const TermRow& row, int terms);
  void (*planes)(const TermPlanes& row, int terms);
};

// Convolution over bf16 terms. Levels that lack it hold nulls.
struct MatrixTile;
struct TileKernels {
  const char* name;
  void (*configure)(int pixels, int pairs);
  void (*run)(const MatrixTile& tile, int rows, int blocks, int terms);
  void (*release)();
};
struct ProductKernels {
  int terms;          // that operands can be split into at most; 0: no products of bf16
  TileKernels tiles;  // matrix tiles, for any number of terms; see src/kernels/tiles/
  // `BlockedKernels::conv` over pairs of bf16, for one term.
  const char* pairs_name;
  void (*pairs)(const ConvTile& tile, int blocks, int pixels);
};

// What the machine can do at most: chains of independent multiply-adds in registers. Benchmarks relate their figures to it. Runs `rounds`
// rounds and returns the floating-point operations done (a multiply and an add each count). `sink` keeps the result.
using FmaProbe = double (*)(int64_t rounds, float* sink);

struct KernelTable {
  Isa isa;

  GemmKernel gemm;
  DotF32 dot;
  PackPanelF32 pack_panel;
  DepthwiseRowsF32 depthwise_rows;
  BlockedKernels blocked;
  BinaryKernels binary;
  TermKernels terms;
  ProductKernels products;
  FmaProbe fma_probe;

  FuseScaleRow fuse_scale;
  FuseScaleRow fuse_accumulate;
  FuseFinishRow fuse_finish;
  FusePatchRow fuse_patch;
  FuseScanRow fuse_scan;
  FuseProductRows fuse_products;

  UnaryF32 relu;
  BinaryF32 add;
};

// The table in force. REPFUSE_ISA reaches the core through SetIsa.
const KernelTable& Kernels();
// A table that no level maps to, for tests.
void SetKernels(const KernelTable& table);
// Forces a level; false (and nothing changes) when this CPU lacks it.
bool SetIsa(Isa isa);

}  // namespace repfuse
