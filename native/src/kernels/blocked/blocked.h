// The kernels over blocks of 16 channels of every level. Their text stands in the .inc files, which blocked__*.cc compile.
#pragma once

#include <cstddef>

#include "conv_tile.h"
#include "depthwise_tile.h"
#include "finish_row.h"
#include "winograd_tile.h"

namespace repfuse {

void RunConvTile__scalar(const ConvTile& tile, int blocks, int pixels);
void RunDepthwiseTile__scalar(const DepthwiseTile& tile, int pixels);
void WinogradInput2__scalar(const WinogradInput& tile);
void WinogradInput4__scalar(const WinogradInput& tile);
void WinogradOutput2__scalar(const WinogradOutput& tile);
void WinogradOutput4__scalar(const WinogradOutput& tile);
void Finish__scalar(const FinishedRow& row);
void Sigmoid__scalar(const float* x, float* y, size_t n);
void Silu__scalar(const float* x, float* y, size_t n);
void Hardswish__scalar(const float* x, float* y, size_t n);
#if defined(__x86_64__)
void RunConvTile__avx2(const ConvTile& tile, int blocks, int pixels);
void RunDepthwiseTile__avx2(const DepthwiseTile& tile, int pixels);
void WinogradInput2__avx2(const WinogradInput& tile);
void WinogradInput4__avx2(const WinogradInput& tile);
void WinogradOutput2__avx2(const WinogradOutput& tile);
void WinogradOutput4__avx2(const WinogradOutput& tile);
void Finish__avx2(const FinishedRow& row);
void Sigmoid__avx2(const float* x, float* y, size_t n);
void Silu__avx2(const float* x, float* y, size_t n);
void Hardswish__avx2(const float* x, float* y, size_t n);
void RunConvTile__avx512(const ConvTile& tile, int blocks, int pixels);
void RunDepthwiseTile__avx512(const DepthwiseTile& tile, int pixels);
void WinogradInput2__avx512(const WinogradInput& tile);
void WinogradInput4__avx512(const WinogradInput& tile);
void WinogradOutput2__avx512(const WinogradOutput& tile);
void WinogradOutput4__avx512(const WinogradOutput& tile);
void Finish__avx512(const FinishedRow& row);
void Sigmoid__avx512(const float* x, float* y, size_t n);
void Silu__avx512(const float* x, float* y, size_t n);
void Hardswish__avx512(const float* x, float* y, size_t n);
// Over pairs of bf16.
void RunPairTile__avx512bf16(const ConvTile& tile, int blocks, int pixels);
#endif

}  // namespace repfuse
