// Rows of a dense convolution's output, panel by panel: what the steps that compute one are made of.
#pragma once

#include <memory>
#include <vector>

#include "convolutions.h"

namespace repfuse {

// Rows of one image, pointers to what belongs to its first block of channels.
struct DenseShare {
  size_t first_panel, last_panel;  // of these panels, without the last
  int64_t rows;
  const float* x;                 // the first tap of the first row
  float* y;                       // the first row
  const float* residual;          // null, or the first row, laid out as the setting's
  float* scratch;                 // `scratch` elements
  int64_t block = 0;              // of 16 output channels that y and residual begin with
  const float* weight = nullptr;  // in place of the setting's, packed as they are: of float32 only
  RowSums sums = {};              // from the first row on
};

class DenseRows {
 public:
  // `in` and `out` say how the rows lie, wherever they are.
  DenseRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out);
  virtual ~DenseRows() = default;
  virtual void Run(const DenseShare& share) const = 0;
  // Elements for a share of so many rows and panels.
  virtual int64_t scratch(int64_t rows, int64_t panels) const = 0;
  // Input planes that one pass over a share's rows adds up.
  virtual int64_t slab() const = 0;
  // Panels that gain by being in one share, at most.
  virtual int64_t panels_together() const = 0;
  virtual std::string kernel() const = 0;

  const ConvSetting& setting() const { return s_; }
  TileSize tile() const { return tile_; }

 protected:
  // Pixels of a row and a block of 16 channels, which come to lie at y: what follows what a tile does, and the split into terms. Without
  // terms x is y. residual: of the same pixels, or null.
  void Store(int64_t block, float* x, float* y, int64_t pixels, const float* residual) const;
  // Of pixels that are stored: the first of their row, or the next.
  void AddToSums(const DenseShare& share, int64_t block, int64_t row, const float* x, int64_t pixels, bool first) const;
  // Of the residual: as the output, though not always of the same border.
  const Layout& other() const { return s_.residual ? s_.residual->layout : out_; }

  ConvSetting s_;
  TileSize tile_;
  Layout in_, out_;
};

// A map between two parts of one step, of so many of a thread's `rows` as the nearest caches hold, or so many bytes: whole parts of them.
Layout RowsInCache(int64_t channels, int64_t width, int64_t rows, int64_t bytes = 128 << 10);

// Rows that lie as `from` says, without borders, into the terms that `to` says; zeros for the half of a block that does not exist.
void SplitRows(const TermKernels& kernels, const Layout& from, float* x, const Layout& to, float* terms, int64_t rows);

// In vectors: of float32, or of pairs of bf16.
std::unique_ptr<DenseRows> MakeDirectRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out);
// In matrix tiles.
std::unique_ptr<DenseRows> MakeTileRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out);
// As the setting's weights are packed.
std::unique_ptr<DenseRows> MakeDenseRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out);

}  // namespace repfuse
