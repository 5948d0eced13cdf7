// Where the values of a network lie, and which kernel makes each.
#pragma once

#include <optional>
#include <vector>

#include "select.h"
#include "shapes.h"
#include "step.h"

namespace repfuse {

ChannelGroups GroupsOf(const NetworkNode& node, const ImageShape& input);
// Elements, to whole vectors.
int64_t RoundUp(int64_t elements);

class MemoryPlan {
 public:
  // shapes, types: of the inputs and of what each node makes.
  MemoryPlan(const Network& network, const Target& target, const std::vector<Shape>& shapes, const std::vector<ValueType>& types);

  Value value(int index) const { return {slots_[static_cast<size_t>(index)], layouts_[static_cast<size_t>(index)]}; }
  // The same as terms: the value itself where it is made as such, else its twin, which is split from it.
  Value terms(int index) const;
  // Where the step that makes a value puts the sums of its rows, for its global average.
  std::optional<Value> row_sums(int index) const;
  bool HasTwin(int index) const { return twins_[static_cast<size_t>(index)].terms > 0; }
  const ConvChoice& choice(size_t node) const { return choices_[node]; }
  // Two values that are one in memory.
  bool IsAlias(size_t node) const;
  // What a node makes lies there already: the channels that a slice takes of its input, a concatenation whose parts are all made in place,
  // a frame of the zeros around a map.
  bool IsView(size_t node) const;
  // A convolution that the node after it computes with its own, or spreads as it is made, or a product that the convolution after it
  // makes of its input, or a resized map that the sum after it adds; the value between them is nowhere.
  bool IsInner(size_t node) const { return inner_[node]; }
  // A pointwise convolution whose narrow maps have no borders: their pixels are one row, which tiles fill better.
  bool IsOneRow(size_t node) const;
  const std::vector<int64_t>& slot_sizes() const { return slot_sizes_; }
  // Whether values and packed weights take at most so many bytes; names the node that makes the largest one.
  Status FitsInto(int64_t limit) const;

 private:
  bool ReadsPlanes(int input) const;
  // Few channels that nobody reads in blocks: they would mostly hold zeros.
  bool IsMadeInPlanes(size_t node) const;
  // The index of the value that a node makes.
  size_t made(size_t node) const { return static_cast<size_t>(network_.value_of(node)); }
  bool IsOutput(int value) const;
  // Whether what makes it can make it as terms.
  bool CanBeTerms(size_t value) const;
  // Which values convolutions read as terms.
  void FindTerms(int terms);
  ConvChoice Choose(size_t node, const ImageShape& output, const Target& target) const;
  std::vector<ConvChoice> ChoicesOf(size_t node, const Target& target) const;
  bool IsMadeAsTerms(int value) const;
  bool ReserveBorder(size_t node, int64_t* allowance);
  // Which values lie in the memory of others.
  void FindParts(const std::vector<Shape>& shapes, const std::vector<ValueType>& types);
  void FindPartsOfConcat(size_t node);
  // A frame of zeros, as many above as on the left and below as on the right, which the map's border is.
  bool IsBorder(size_t node) const;
  // A value, and the block of it at which another begins that is part of it, or of a part; of its border the rows and columns before and
  // after the map that belong to the other.
  struct Place {
    int of = -1;
    int64_t block = 0, before = 0, after = 0;
    bool operator==(const Place&) const = default;
    Place Behind(int64_t blocks) const { return {of, block + blocks, before, after}; }
  };
  // How a value lies in memory of that layout at that place.
  Layout LaidAt(int value, const Layout& of, const Place& place) const;
  Place PlaceOf(int value) const;
  // Parts lie as what they are parts of.
  void LayParts();
  void CapGrowth(const Target& target);
  void CapError(const Target& target);
  template <typename Saved, typename Taken>
  void TakeCheapest(const Target& target, double excess, const Saved& saved_by, const Taken& taken);
  // readers: of each value, how many inputs are it.
  bool CanBeInner(size_t node, const std::vector<int>& readers) const;
  bool IsSpread(size_t node) const;
  // A resized map, as part of the step of the sum after it.
  bool IsResizedTerm(size_t node, const std::vector<int>& readers) const;
  // A product with one factor for each channel of each image, as part of the step of the pointwise convolution after it.
  bool IsGate(size_t node, const std::vector<int>& readers) const;
  // A pointwise convolution, as part of the step of the depthwise one after it.
  bool CanExpand(size_t node, const std::vector<int>& readers) const;
  // Which convolutions are part of the next one's step.
  void FindInner(const std::vector<int>& readers, const Target& target);
  // The rows of which a convolution takes sums, as its step sees them; 0: none.
  int64_t SummedRows(int value) const;
  void AssignSlots();
  // A slot for a value made by node `made` and read last by node `last`.
  int SlotFor(const Layout& layout, int made, int last);

  const Network& network_;
  std::vector<ImageShape> shapes_;
  std::vector<Layout> layouts_;
  std::vector<Layout> twins_;  // of no terms where there is none
  std::vector<Place> parts_;   // by value: what it is part of
  std::vector<ConvChoice> choices_;
  std::vector<bool> inner_;
  std::vector<int> slots_, twin_slots_, sums_slots_;  // of values
  struct Slot {
    Layout layout;
    int busy_until;
  };
  std::vector<Slot> taken_;
  std::vector<int64_t> slot_sizes_;
};

}  // namespace repfuse
