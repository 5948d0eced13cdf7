// The steps that compute a convolution.
#pragma once

#include <memory>
#include <optional>

#include "epilogue.h"
#include "operators/operator.h"
#include "packed_weights.h"
#include "row_sums.h"
#include "step.h"

namespace repfuse {

// What the steps have in common.
struct ConvSetting {
  Value input;
  std::optional<Value> residual;
  std::shared_ptr<const PackedWeights> weights;
  ChannelGroups channels;
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
  Epilogue epilogue;
  const KernelTable* kernels;
  WeightPacking packing;                         // of `weights`
  std::optional<Value> row_sums = std::nullopt;  // of its result, where they are wanted
  bool one_pixel = false;                        // of each image's result

  const BlockedKernels& blocked() const { return kernels->blocked; }
};

// Implicit im2col: the taps of a pixel are read where they lie, in the blocked or the planar input, of float32 or of terms.
std::unique_ptr<Step> MakeDenseConv(const ConvSetting& setting, TileSize tile, int threads, Value output);
// In the form that its weights are packed for.
std::unique_ptr<Step> MakeWinogradConv(ConvSetting setting, TileSize tile, int threads, Value output);
// One filter for each channel.
std::unique_ptr<Step> MakeDepthwiseConv(const ConvSetting& setting, Value output);
// Sums in float64, each rounded once: what the others are measured against.
std::unique_ptr<Step> MakeFloat64Conv(ConvSetting setting, Value output);
// A depthwise convolution and the pointwise one that alone reads it (whose `input` has no memory).
std::unique_ptr<Step> MakeSeparableConv(const ConvSetting& depthwise, const ConvSetting& pointwise, TileSize tile, int threads,
                                        Value output);
// A pointwise convolution and the depthwise one that alone reads it, and, if there is one, the pointwise one that alone reads that. What
// lies between them has no memory of its own.
struct MergedConvs {
  ConvSetting expand, depthwise;
  TileSize expand_tile;
  std::optional<ConvSetting> project;
  TileSize project_tile;
};
std::unique_ptr<Step> MakeMergedConv(const MergedConvs& convs, int threads, Value output);

// A map times one factor for each channel of each image.
struct Gated {
  Value map, gates;
  bool one_row;  // whether what reads it takes its pixels as one row
};
// A pointwise convolution of that, whose own `input` has no memory.
std::unique_ptr<Step> MakeGatedConv(const Gated& gated, ConvSetting pointwise, TileSize tile, int threads, Value output);

// A dense convolution, whose own result is of the shape `wide` and lies nowhere, spread as what reads it alone wants it.
std::unique_ptr<Step> MakeSpreadConv(const ConvSetting& setting, TileSize tile, int threads, const Spread& spread, const ImageShape& wide,
                                     Value output);

// Tiles that one pass takes: as many as keep the domain's values of all channels in the L2 cache; no
// more than a thread's part where its weights are small.
int64_t WinogradPass(const ChannelGroups& channels, WinogradForm form, int pixels, int64_t tiles, int threads);

}  // namespace repfuse
