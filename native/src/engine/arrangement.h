// Where the values of a network lie, and which kernel makes each.
#pragma once

#include <vector>

#include "select.h"
#include "step.h"

namespace repfuse {

// Whether a convolution computes it.
bool IsConv(const NetworkNode& node);
ChannelGroups GroupsOf(const NetworkNode& node, const ImageShape& input);
// Elements, to whole vectors.
int64_t RoundUp(int64_t elements);

class Arrangement {
 public:
  // shapes: of the input and of what each node makes.
  Arrangement(const Network& network, const EngineOptions& options, const KernelTable& kernels, int threads, std::vector<ImageShape> shapes);

  Value value(int index) const { return {slots_[static_cast<size_t>(index)], layouts_[static_cast<size_t>(index)]}; }
  const ConvChoice& choice(size_t node) const { return choices_[node]; }
  // Two values that are one in memory.
  bool IsAlias(size_t node) const;
  // A depthwise convolution that the node after it computes with its own; the value between them is nowhere.
  bool IsInner(size_t node) const { return inner_[node]; }
  const std::vector<int64_t>& slot_sizes() const { return slot_sizes_; }

 private:
  bool ReadsPlanes() const;
  ConvChoice Choose(size_t node, const EngineOptions& options, const KernelTable& kernels, int threads) const;
  void CapGrowth(const EngineOptions& options, const KernelTable& kernels, int threads);
  // readers: of each value, how many inputs are it.
  bool CanBeInner(size_t node, const std::vector<int>& readers) const;
  void AssignSlots();

  const Network& network_;
  std::vector<ImageShape> shapes_;
  std::vector<Layout> layouts_;
  std::vector<ConvChoice> choices_;
  std::vector<bool> inner_;
  std::vector<int> slots_;
  std::vector<int64_t> slot_sizes_;
};

}  // namespace repfuse
