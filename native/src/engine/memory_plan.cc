#include "memory_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <queue>
#include <tuple>

#include "operators/resize.h"
#include "row_sums.h"

namespace repfuse {
namespace {

constexpr int64_t kMaxPlanarChannels = 8;
// All weights of a network as they are packed are at most so many times the plain ones, and so many bytes more: Winograd's are up to four
// times as large. With that a process of RepVGG-B1 holds what onnxruntime's does (docs/performance.md).
constexpr double kMaxGrowth = 2.2, kGrowthAllowance = 8 << 20;
// How many times the rounding error of direct convolutions all of a network may be expected to lose, and the part of the time, as it is
// estimated, that may be given for that: measured, an eighth of it. The square of an error grows so much from one convolution to the next,
// along the longest way to a result: of the growths from 1.1 to 1.2 the one with which the networks of docs/onnx.md lose least for the
// time.
constexpr double kMaxError = 1.2, kMaxTimeForError = 0.08, kErrorGrowth = 1.15;
constexpr double kMostErrorGrowth = 1e100;  // of networks so deep that it would be no number
// Maps with their borders, and weights in the order of a kernel, take at most so many times what they hold (a 3x3 kernel of dilation 36 on
// 17 x 17 pixels: 27 times; F(4, 3) of 3 to 8 channels: 42 times), or so many bytes together for all that take more. A convolution that
// would need more is computed without.
constexpr int64_t kMaxTimes = 32, kMaxWeightTimes = 64, kBorderAllowance = int64_t{32} << 20;
// Of an expanded map: bytes from which on it does not stay in the cache between steps; bytes of the rows under a window that do while one
// step reads them; rows that each thread has at least, for those at its edges are expanded twice.
constexpr int64_t kMinMergedBytes = 256 << 10, kMaxMergedRows = 768 << 10, kMinMergedRows = 8;
// Weights of a pointwise convolution that every thread can read anew for a few rows at a time, of maps that are more than one row.
constexpr int64_t kMaxInnerWeights = 512 << 10, kMaxGatedWeights = 1 << 20;
// Pixels of a map with a frame, beside those of the map: a larger one is copied, for the map's own readers.
constexpr int64_t kMaxFramed = 4;

// Rows that fill tiles by themselves; pixels of maps that no thread needs a part of.
constexpr int64_t kWideRow = 12, kMaxOneRow = 128;

void NeedBorder(const NetworkNode& node, const ConvChoice& choice, const ImageShape& output, Layout* input) {
  input->before = std::max({input->before, node.pad_top, node.pad_left});
  input->after = std::max({input->after, node.pad_bottom, node.pad_right});
  if (!IsWinograd(choice.method)) return;
  // The last tiles hang over the edge.
  const auto whole = [](int64_t size, int64_t part) { return (size + part - 1) / part * part; };
  const WinogradForm form = WinogradFormOf(choice.method);
  const int64_t rows = whole(output.height, form.rows) + 2 - node.pad_top, columns = whole(output.width, form.columns) + 2 - node.pad_left;
  input->after = std::max({input->after, rows - input->shape.height, columns - input->shape.width});
}

bool IsPointwise(const NetworkNode& node) {
  return node.kernel_h == 1 && node.kernel_w == 1 && node.stride_h == 1 && node.stride_w == 1 && node.groups == 1 && node.pad_top == 0 &&
         node.pad_left == 0 && node.pad_bottom == 0 && node.pad_right == 0;
}

}  // namespace

ChannelGroups GroupsOf(const NetworkNode& node, const ImageShape& input) { return {input.channels, node.out_channels, node.groups}; }

int64_t RoundUp(int64_t elements) { return (elements + kBlock - 1) / kBlock * kBlock; }

MemoryPlan::MemoryPlan(const Network& network, const Target& target, const std::vector<Shape>& shapes, const std::vector<ValueType>& types)
    : network_(network),
      layouts_(shapes.size()),
      twins_(shapes.size()),
      parts_(shapes.size()),
      choices_(network.nodes.size()),
      inner_(network.nodes.size()) {
  for (size_t value = 0; value < shapes.size(); ++value) {
    shapes_.push_back(AsImages(shapes[value]));
    layouts_[value].shape = shapes_[value];
    if (types[value] == ValueType::kTensor) layouts_[value].kind = Layout::Kind::kPlanar;
  }
  for (size_t input = 0; input < network.inputs.size(); ++input) {
    if (types[input] == ValueType::kImages && ReadsPlanes(static_cast<int>(input))) layouts_[input].kind = Layout::Kind::kPlanar;
  }
  FindParts(shapes, types);
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (network.nodes[i].op->is_convolution()) choices_[i] = Choose(i, shapes_[made(i)], target);
  }
  if (target.options.algorithm == Algorithm::kAuto) {
    CapGrowth(target);
    if (target.options.precision == Precision::kF32) CapError(target);
  }
  int64_t allowance = kBorderAllowance;
  for (size_t value = 0; value < layouts_.size(); ++value) {
    const Place place = PlaceOf(static_cast<int>(value));
    Layout& of = layouts_[static_cast<size_t>(place.of)];
    of.before = std::max(of.before, place.before);
    of.after = std::max(of.after, place.after);
  }
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (network.nodes[i].op->is_convolution() && !ReserveBorder(i, &allowance)) choices_[i] = Plain(network.nodes[i]);
  }
  LayParts();
  std::vector<int> readers(shapes_.size());
  for (const NetworkNode& node : network.nodes) {
    for (const int input : node.inputs) ++readers[static_cast<size_t>(input)];
  }
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (types[made(i)] == ValueType::kImages && readers[made(i)] == 0 && IsMadeInPlanes(i)) layouts_[made(i)].kind = Layout::Kind::kPlanar;
  }
  for (Layout& layout : layouts_) {
    const bool pixel = layout.shape.height == 1 && layout.shape.width == 1 && layout.before == 0 && layout.after == 0;
    if (pixel && layout.kind == Layout::Kind::kBlocked) layout.kind = Layout::Kind::kVectors;
  }
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (IsAlias(i)) parts_[made(i)] = {.of = network.nodes[i].inputs[0]};
  }
  LayParts();
  // Vectors make the batch a row of pixels: another tile may suit it.
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const NetworkNode& node = network.nodes[i];
    if (!node.op->is_convolution() || choices_[i].method == ConvMethod::kFloat64) continue;
    const size_t input = static_cast<size_t>(node.inputs[0]);
    if (layouts_[input].kind != Layout::Kind::kVectors || layouts_[made(i)].kind != Layout::Kind::kVectors ||
        IsDepthwise(GroupsOf(node, shapes_[input])))
      continue;
    choices_[i] = Choose(i, shapes_[made(i)], target);
  }
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (IsOneRow(i)) choices_[i].tile = Choose(i, OneRow(shapes_[made(i)]), target).tile;
  }
  FindInner(readers, target);
  FindTerms(TermsOf(target.options.precision, target.kernels));
  AssignSlots();
}

bool MemoryPlan::IsMadeAsTerms(int value) const {
  return network_.IsInput(value) ? layouts_[static_cast<size_t>(value)].kind == Layout::Kind::kPlanar
                                 : MultipliesTerms(choices_[network_.maker(value)].method);
}

ConvChoice MemoryPlan::Choose(size_t node, const ImageShape& output, const Target& target) const {
  const int from = network_.nodes[node].inputs[0];
  const size_t input = static_cast<size_t>(from);
  return ChooseConv(network_.nodes[node], GroupsOf(network_.nodes[node], shapes_[input]), {layouts_[input], IsMadeAsTerms(from)}, output,
                    target);
}

std::vector<ConvChoice> MemoryPlan::ChoicesOf(size_t node, const Target& target) const {
  const int from = network_.nodes[node].inputs[0];
  const size_t input = static_cast<size_t>(from);
  return ConvChoices(network_.nodes[node], GroupsOf(network_.nodes[node], shapes_[input]), {layouts_[input], IsMadeAsTerms(from)},
                     shapes_[made(node)], target);
}

// The border that a node's kernel needs around its input, and its packed weights, where they are not out of proportion.
bool MemoryPlan::ReserveBorder(size_t node, int64_t* allowance) {
  const ConvChoice& choice = choices_[node];
  if (choice.method == ConvMethod::kFloat64) return true;
  const int input = network_.nodes[node].inputs[0];
  const Place place = PlaceOf(input);
  Layout& layout = layouts_[static_cast<size_t>(place.of)];
  Layout plain = layout, wide = layout, read = LaidAt(input, layout, place);
  plain.before = plain.after = 0;
  NeedBorder(network_.nodes[node], choice, shapes_[made(node)], &read);
  wide.before = read.before + place.before;
  wide.after = read.after + place.after;
  const Checked bytes = wide.checked_elements() * 4, now = layout.checked_elements() * 4;
  Checked beyond = 0;
  if (!bytes.AtMost(plain.checked_elements().value() * 4 * kMaxTimes)) beyond += bytes - now;
  const double source = static_cast<double>(network_.nodes[node].weight_count) * 4;
  if (choice.bytes > source * kMaxWeightTimes) beyond += static_cast<int64_t>(std::min(choice.bytes, 1e15));
  if (!beyond.AtMost(*allowance)) return false;
  *allowance -= beyond.value();
  layout = wide;
  return true;
}

Status MemoryPlan::FitsInto(int64_t limit) const {
  Checked packed = 0, total = 0;
  int64_t largest = -1;
  long long where = -1;
  for (const ConvChoice& choice : choices_) packed += static_cast<int64_t>(std::min(choice.bytes, 1e15));
  for (const int64_t size : slot_sizes_) total += Checked(size) * 4;
  total += packed;
  if (total.AtMost(limit)) return Ok();
  for (size_t value = network_.inputs.size(); value < layouts_.size(); ++value) {
    const int64_t size = std::max(layouts_[value].elements(), twins_[value].elements());
    if (slots_[value] < 0 || size <= largest) continue;
    largest = size;
    where = static_cast<long long>(network_.maker(static_cast<int>(value)));
  }
  return {Code::kTooLarge, "activations and packed weights", where};
}

Value MemoryPlan::terms(int index) const {
  const size_t value = static_cast<size_t>(index);
  return HasTwin(index) ? Value{twin_slots_[value], twins_[value]} : this->value(index);
}

std::optional<Value> MemoryPlan::row_sums(int index) const {
  const size_t value = static_cast<size_t>(index);
  if (sums_slots_[value] < 0) return std::nullopt;
  return Value{sums_slots_[value], RowSumsLayout(layouts_[value], SummedRows(index))};
}

int64_t MemoryPlan::SummedRows(int value) const {
  const Layout& layout = layouts_[static_cast<size_t>(value)];
  if (network_.IsInput(value) || layout.kind != Layout::Kind::kBlocked || layout.terms > 0) return 0;
  const size_t node = network_.maker(value);
  const ConvMethod method = choices_[node].method;
  if (!network_.nodes[node].op->is_convolution() || IsWinograd(method) || method == ConvMethod::kFloat64) return 0;
  const bool with_another = node > 0 && inner_[node - 1] && network_.nodes[node - 1].op->is_convolution();
  return IsOneRow(node) && !with_another ? 1 : layout.shape.height;
}

bool MemoryPlan::CanBeTerms(size_t value) const {
  if (network_.IsInput(static_cast<int>(value))) return layouts_[value].kind == Layout::Kind::kPlanar;
  const size_t node = network_.maker(static_cast<int>(value));
  const ConvMethod method = choices_[node].method;
  return network_.nodes[node].op->is_convolution() && (method == ConvMethod::kDirect || MultipliesTerms(method));
}

void MemoryPlan::FindTerms(int terms) {
  std::vector<bool> as_terms(shapes_.size()), as_float32(shapes_.size());
  for (const int output : network_.outputs) as_float32[static_cast<size_t>(output)] = true;
  for (size_t i = 0; i < network_.nodes.size(); ++i) {
    const std::vector<int>& inputs = network_.nodes[i].inputs;
    for (size_t k = 0; k < inputs.size(); ++k) {
      const size_t input = static_cast<size_t>(inputs[k]);
      if (!network_.IsInput(inputs[k]) && inner_[network_.maker(inputs[k])]) continue;  // lies nowhere
      if (k == 0 && network_.nodes[i].op->is_convolution() && MultipliesTerms(choices_[i].method)) as_terms[input] = true;
      else as_float32[input] = true;
    }
  }
  for (size_t value = 0; value < shapes_.size(); ++value) {
    if (!as_terms[value]) continue;
    Layout& layout = !as_float32[value] && CanBeTerms(value) ? layouts_[value] : (twins_[value] = layouts_[value]);
    layout.terms = terms;
    layout.first = layout.whole = 0;
  }
}

// What a change of a layer's kernel costs: seconds for a part of what it saves, the cheapest of each layer.
template <typename Saved, typename Taken>
void MemoryPlan::TakeCheapest(const Target& target, double excess, const Saved& saved_by, const Taken& taken) {
  struct Move {
    double price;
    size_t node;
    ConvChoice to;

    bool operator>(const Move& other) const { return std::tie(price, node) > std::tie(other.price, other.node); }
  };
  std::priority_queue<Move, std::vector<Move>, std::greater<>> moves;
  const auto consider = [&](size_t node) {
    if (!network_.nodes[node].op->is_convolution()) return;
    std::optional<Move> best;
    for (const ConvChoice& other : ChoicesOf(node, target)) {
      const double saved = saved_by(node, other);
      if (saved <= 0) continue;
      Move move{(other.estimate - choices_[node].estimate) / saved, node, other};
      if (!best || *best > move) best = move;
    }
    if (best) moves.push(*best);
  };
  for (size_t i = 0; i < network_.nodes.size(); ++i) consider(i);
  while (excess > 0 && !moves.empty()) {
    const Move move = moves.top();
    moves.pop();
    const double saved = saved_by(move.node, move.to);
    if (saved > 0) {
      excess -= saved;
      taken(move.node, move.to);
      choices_[move.node] = move.to;
    }
    consider(move.node);
  }
}

// Where weights grow beyond the cap, the layers that lose the least time for a byte take smaller ones.
void MemoryPlan::CapGrowth(const Target& target) {
  double plain = 0, held = 0;
  for (size_t i = 0; i < network_.nodes.size(); ++i) {
    plain += static_cast<double>(network_.nodes[i].weight_count) * 4;
    if (network_.nodes[i].op->is_convolution()) held += choices_[i].bytes;
  }
  const bool least = target.options.least_memory;
  const double most = least ? plain : kMaxGrowth * plain + kGrowthAllowance;
  if (held <= most) return;
  TakeCheapest(
      target, held - most,
      [&](size_t node, const ConvChoice& to) {
        // Three terms of bf16 are larger than a float32, too, but no growth to speak of.
        const ConvChoice& from = choices_[node];
        return IsWinograd(from.method) || (least && MultipliesTerms(from.method)) ? from.bytes - to.bytes : 0;
      },
      [](size_t, const ConvChoice&) {});
}

// Where a network is expected to lose more than `kMaxError` times what direct convolutions lose, the layers that lose the least time for
// it take kernels that lose less, as long as that costs no more than a little time. The errors of layers are independent: their squares add
// up, those of early layers after they have grown on their way.
void MemoryPlan::CapError(const Target& target) {
  std::vector<double> growth(choices_.size()), behind(shapes_.size(), 1);  // of nodes, and of what values lead to
  double squares = 0, plain = 0, time = 0;
  for (size_t i = choices_.size(); i-- > 0;) {
    double before = behind[made(i)];
    if (network_.nodes[i].op->is_convolution()) {
      growth[i] = before;
      before = std::min(before * kErrorGrowth, kMostErrorGrowth);
      squares += choices_[i].error * choices_[i].error * growth[i];
      plain += growth[i];
      time += choices_[i].estimate;
    }
    for (const int input : network_.nodes[i].inputs) {
      double& of_input = behind[static_cast<size_t>(input)];
      of_input = std::max(of_input, before);
    }
  }
  const double most = kMaxError * kMaxError * plain;
  if (squares <= most) return;
  double allowed = kMaxTimeForError * time;
  TakeCheapest(
      target, squares - most,
      [&](size_t node, const ConvChoice& to) {
        const ConvChoice& from = choices_[node];
        const bool can = to.estimate - from.estimate <= allowed && to.bytes <= from.bytes;
        return can ? (from.error * from.error - to.error * to.error) * growth[node] : 0;
      },
      [&](size_t node, const ConvChoice& to) { allowed -= to.estimate - choices_[node].estimate; });
}

bool MemoryPlan::IsOutput(int value) const {
  return std::find(network_.outputs.begin(), network_.outputs.end(), value) != network_.outputs.end();
}

bool MemoryPlan::IsAlias(size_t node) const {
  const NetworkNode& copy = network_.nodes[node];
  const int of = parts_[made(node)].of;
  if (of >= 0 && of != copy.inputs[0]) return false;  // part of another value
  return copy.op->trait == Trait::kKeepsOrder && layouts_[static_cast<size_t>(copy.inputs[0])].kind == Layout::Kind::kVectors &&
         layouts_[made(node)].kind == Layout::Kind::kVectors;
}

bool MemoryPlan::IsView(size_t node) const {
  const std::vector<int>& inputs = network_.nodes[node].inputs;
  const Operator* op = network_.nodes[node].op;
  if (op == &kSlice || op == &kFrame) return parts_[made(node)].of == inputs[0];
  if (op != &kConcat || layouts_[made(node)].kind == Layout::Kind::kPlanar) return false;
  const Place place = PlaceOf(network_.value_of(node));
  int64_t channels = 0;
  for (const int input : inputs) {
    if (channels % kBlock != 0 || PlaceOf(input) != place.Behind(channels / kBlock)) return false;
    channels += shapes_[static_cast<size_t>(input)].channels;
  }
  return true;
}

MemoryPlan::Place MemoryPlan::PlaceOf(int value) const {
  Place place{value, 0};
  for (const Place* part = &parts_[static_cast<size_t>(value)]; part->of >= 0; part = &parts_[static_cast<size_t>(part->of)])
    place = {part->of, place.block + part->block, place.before + part->before, place.after + part->after};
  return place;
}

bool MemoryPlan::IsBorder(size_t node) const {
  const NetworkNode& frame = network_.nodes[node];
  const std::span<const float> fill(frame.bias.as<float>(), frame.bias.bytes() / sizeof(float));
  const bool is_zero = std::all_of(fill.begin(), fill.end(), [](float value) { return value == 0 && !std::signbit(value); });
  const ImageShape &framed = shapes_[made(node)], &map = shapes_[static_cast<size_t>(PlaceOf(frame.inputs[0]).of)];
  return is_zero && frame.pad_top == frame.pad_left && frame.pad_bottom == frame.pad_right && frame.pad_top >= 0 && frame.pad_bottom >= 0 &&
         framed.height * framed.width <= kMaxFramed * map.height * map.width;
}

void MemoryPlan::FindParts(const std::vector<Shape>& shapes, const std::vector<ValueType>& types) {
  for (size_t i = 0; i < network_.nodes.size(); ++i) {
    const NetworkNode& node = network_.nodes[i];
    if (node.op == &kFrame && IsBorder(i)) parts_[made(i)] = {node.inputs[0], 0, node.pad_top, node.pad_bottom};
    if (node.op != &kSlice || types[made(i)] != ValueType::kImages) continue;
    const Shape& input = shapes[static_cast<size_t>(node.inputs[0])];
    const auto channel = FirstChannelOfSlice(node, input);
    if (!channel || *channel % kBlock != 0) continue;
    const int64_t channels = shapes_[made(i)].channels;
    if (channels % kBlock == 0 || *channel + channels == input[1]) parts_[made(i)] = {.of = node.inputs[0], .block = *channel / kBlock};
  }
  // Of concatenations that begin alike the longest comes last; it then holds the others.
  for (size_t i = network_.nodes.size(); i-- > 0;) {
    if (network_.nodes[i].op == &kConcat && types[made(i)] == ValueType::kImages) FindPartsOfConcat(i);
  }
}

void MemoryPlan::FindPartsOfConcat(size_t node) {
  const std::vector<int>& inputs = network_.nodes[node].inputs;
  const int value = network_.value_of(node);
  const auto channels_of = [&](int input) { return shapes_[static_cast<size_t>(input)].channels; };
  // Whether the inputs from one on lie one after the other from a place on, until they are so many channels.
  const auto follow = [&](size_t from, Place place, int64_t channels) {
    int64_t done = 0;
    for (; from < inputs.size() && done < channels; done += channels_of(inputs[from++])) {
      if (done % kBlock != 0 || PlaceOf(inputs[from]) != place.Behind(done / kBlock)) return false;
    }
    return done == channels;
  };
  if (parts_[static_cast<size_t>(value)].of < 0) {
    const Place start = PlaceOf(inputs[0]);
    if (start.of != inputs[0] && follow(0, start, channels_of(value))) {
      parts_[static_cast<size_t>(value)] = start;
      return;
    }
  }
  int64_t channel = 0;
  for (size_t i = 0; i < inputs.size() && channel % kBlock == 0; channel += channels_of(inputs[i++])) {
    // What is no part yet; all slices of a value, one after the other, are that value.
    const Place place = PlaceOf(inputs[i]);
    const int64_t channels = channels_of(place.of);
    if (place.of == PlaceOf(value).of || layouts_[static_cast<size_t>(place.of)].kind != Layout::Kind::kBlocked) continue;
    const bool is_whole = channels % kBlock == 0 || channel + channels == channels_of(value);
    const bool is_inside = place.before == 0 && place.after == 0;
    if (is_whole && is_inside && place.block == 0 && follow(i, place, channels))
      parts_[static_cast<size_t>(place.of)] = {.of = value, .block = channel / kBlock};
  }
}

Layout MemoryPlan::LaidAt(int value, const Layout& of, const Place& place) const {
  Layout layout = layouts_[static_cast<size_t>(value)];
  layout.before = of.before - place.before;
  layout.after = of.after - place.after;
  if (place.of == value) return layout;
  layout.first = place.block;
  layout.whole = of.planes();
  return layout;
}

void MemoryPlan::LayParts() {
  for (size_t value = 0; value < layouts_.size(); ++value) {
    const Place place = PlaceOf(static_cast<int>(value));
    layouts_[value] = LaidAt(static_cast<int>(value), layouts_[static_cast<size_t>(place.of)], place);
  }
}

// Few channels that only dense convolutions read: blocks of 16 would mostly hold zeros.
bool MemoryPlan::ReadsPlanes(int input) const {
  if (shapes_[static_cast<size_t>(input)].channels > kMaxPlanarChannels || IsOutput(input)) return false;
  for (const NetworkNode& node : network_.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == input && (!node.op->is_convolution() || node.groups != 1 || i > 0)) return false;
    }
  }
  return true;
}

bool MemoryPlan::IsMadeInPlanes(size_t node) const {
  const ImageShape& s = shapes_[made(node)];
  if (s.channels >= kMaxPlanarChannels || s.height * s.width == 1) return false;
  const ConvMethod method = choices_[node].method;
  const NetworkNode& maker = network_.nodes[node];
  if (!maker.op->is_convolution()) return maker.op == &kDepthToSpace;
  return maker.inputs.size() == 1 && (method == ConvMethod::kDirect || MultipliesTerms(method)) && layouts_[made(node)].before == 0;
}

void MemoryPlan::FindInner(const std::vector<int>& readers, const Target& target) {
  for (size_t i = 0; i < network_.nodes.size(); ++i)
    inner_[i] = (i == 0 || !inner_[i - 1]) &&
                (target.options.merge || (network_.nodes[i].op->is_convolution() && choices_[i].method != ConvMethod::kDepthwise)) &&
                CanBeInner(i, readers);
  for (size_t i = 0; target.options.merge && i + 1 < network_.nodes.size(); ++i) {
    if ((i > 0 && inner_[i - 1]) || !CanExpand(i, readers)) continue;
    // Of three only the depthwise convolution and the last one know how to multiply terms.
    if (inner_[i + 1] && MultipliesTerms(choices_[i + 2].method)) continue;
    inner_[i] = true;
    const ImageShape& to = shapes_[made(i + 1)];
    const int64_t row = shapes_[made(i)].width * layouts_[made(i)].blocks() * kBlock * static_cast<int64_t>(sizeof(float));
    const int64_t bytes = row * shapes_[made(i)].height;
    // Cut by channels, a step has more parts and reads its weights once; cut by rows, nothing of the expanded map leaves the cache.
    if (bytes < kMinMergedBytes || row * network_.nodes[i + 1].kernel_h > kMaxMergedRows ||
        to.batch * to.height < target.threads * kMinMergedRows)
      inner_[i + 1] = false;
  }
}

bool MemoryPlan::CanExpand(size_t node, const std::vector<int>& readers) const {
  const int value = network_.value_of(node);
  const NetworkNode &expand = network_.nodes[node], &next = network_.nodes[node + 1];
  if (!expand.op->is_convolution() || !next.op->is_convolution() || choices_[node].method != ConvMethod::kDirect) return false;
  const auto is_blocked = [&](int index) { return layouts_[static_cast<size_t>(index)].kind == Layout::Kind::kBlocked; };
  return !IsOutput(value) && readers[made(node)] == 1 && expand.inputs.size() == 1 && IsPointwise(expand) &&
         choices_[node + 1].method == ConvMethod::kDepthwise && next.inputs.size() == 1 && next.inputs[0] == value &&
         is_blocked(expand.inputs[0]) && is_blocked(value) && is_blocked(network_.value_of(node + 1));
}

bool MemoryPlan::CanBeInner(size_t node, const std::vector<int>& readers) const {
  const int value = network_.value_of(node);
  if (node + 1 >= network_.nodes.size() || IsOutput(value)) return false;
  if (network_.nodes[node].op == &kResize) return IsResizedTerm(node, readers);
  if (!network_.nodes[node].op->is_convolution()) return IsGate(node, readers);
  if (network_.nodes[node + 1].op == &kDepthToSpace) return readers[made(node)] == 1 && IsSpread(node);
  if (choices_[node].method != ConvMethod::kDepthwise) return false;
  const NetworkNode &depthwise = network_.nodes[node], &next = network_.nodes[node + 1];
  if (depthwise.inputs.size() != 1 || !next.op->is_convolution() || next.inputs[0] != value) return false;
  return readers[made(node)] == 1 && IsPointwise(next) && layouts_[made(node)].kind == Layout::Kind::kBlocked &&
         layouts_[made(node + 1)].kind == Layout::Kind::kBlocked && choices_[node + 1].method != ConvMethod::kFloat64 &&
         next.weight_count * static_cast<int64_t>(sizeof(float)) <= kMaxInnerWeights;
}

bool MemoryPlan::IsResizedTerm(size_t node, const std::vector<int>& readers) const {
  const int value = network_.value_of(node);
  const NetworkNode& sum = network_.nodes[node + 1];
  if (readers[made(node)] != 1 || !CanTakeResized(sum, value)) return false;
  const ImageShape& to = shapes_[made(node + 1)];
  const auto is_map = [&](int index) {
    return layouts_[static_cast<size_t>(index)].kind == Layout::Kind::kBlocked && shapes_[static_cast<size_t>(index)] == to;
  };
  return layouts_[static_cast<size_t>(network_.nodes[node].inputs[0])].lanes() == kBlock && is_map(network_.value_of(node + 1)) &&
         std::all_of(sum.inputs.begin(), sum.inputs.end(), is_map);
}

bool MemoryPlan::IsGate(size_t node, const std::vector<int>& readers) const {
  const NetworkNode &gate = network_.nodes[node], &next = network_.nodes[node + 1];
  const bool is_product = gate.op == &kGate || (gate.op == &kBinary && gate.function == FindBinaryFunction("mul"));
  if (!is_product || gate.inputs.size() != 2 || gate.activation != nullptr || !gate.follows.empty()) return false;
  const int value = network_.value_of(node);
  const auto lies = [&](int index) {
    const Layout::Kind kind = layouts_[static_cast<size_t>(index)].kind;
    return kind != Layout::Kind::kPlanar && layouts_[static_cast<size_t>(index)].terms == 0;
  };
  if (readers[made(node)] != 1 || !next.op->is_convolution() || next.inputs[0] != value || !IsPointwise(next) ||
      (choices_[node + 1].method != ConvMethod::kDirect && !MultipliesTerms(choices_[node + 1].method)) ||
      (next.weight_count * static_cast<int64_t>(sizeof(float)) > kMaxGatedWeights && !IsOneRow(node + 1)) ||
      layouts_[made(node)].kind != Layout::Kind::kBlocked || layouts_[made(node + 1)].kind != Layout::Kind::kBlocked)
    return false;
  const ImageShape& map = shapes_[made(node)];
  int maps = 0, factors = 0;
  for (const int input : gate.inputs) {
    const ImageShape& s = shapes_[static_cast<size_t>(input)];
    if (!lies(input) || s.batch != map.batch || s.channels != map.channels) return false;
    if (s.height == map.height && s.width == map.width) ++maps;
    else if (s.height == 1 && s.width == 1) ++factors;
  }
  return maps == 1 && factors == 1;
}

// Whether a convolution can write its result where the depth to space after it puts it.
bool MemoryPlan::IsSpread(size_t node) const {
  const NetworkNode& conv = network_.nodes[node];
  const ConvMethod method = choices_[node].method;
  const bool dense = method == ConvMethod::kDirect || MultipliesTerms(method);
  return conv.op->is_convolution() && dense && conv.inputs.size() == 1 && network_.nodes[node + 1].inputs[0] == network_.value_of(node) &&
         layouts_[made(node)].kind == Layout::Kind::kBlocked && layouts_[made(node + 1)].kind != Layout::Kind::kVectors;
}

bool MemoryPlan::IsOneRow(size_t node) const {
  const NetworkNode& conv = network_.nodes[node];
  if (!conv.op->is_convolution() || choices_[node].method != ConvMethod::kDirect || !IsPointwise(conv)) return false;
  const auto is_bare = [&](int value) {
    const Layout& layout = layouts_[static_cast<size_t>(value)];
    return layout.kind == Layout::Kind::kBlocked && layout.before == 0 && layout.after == 0;
  };
  const ImageShape& map = shapes_[made(node)];
  return map.width < kWideRow && map.height * map.width <= kMaxOneRow && is_bare(network_.value_of(node)) &&
         std::all_of(conv.inputs.begin(), conv.inputs.end(), is_bare);
}

// Values share memory where their borders lie alike and the earlier one has been read for the last time.
void MemoryPlan::AssignSlots() {
  const int nodes = static_cast<int>(network_.nodes.size());
  std::vector<int> last(shapes_.size(), -1);
  for (int i = 0; i < nodes; ++i) {
    int reader = i;
    while (inner_[static_cast<size_t>(reader)]) ++reader;
    for (const int input : network_.nodes[static_cast<size_t>(i)].inputs)
      last[static_cast<size_t>(input)] = std::max(last[static_cast<size_t>(input)], reader);
  }
  for (const int output : network_.outputs) last[static_cast<size_t>(output)] = nodes;
  for (size_t value = 0; value < shapes_.size(); ++value) {  // the whole lives as long as its parts
    const int made_by = network_.IsInput(static_cast<int>(value)) ? -1 : static_cast<int>(network_.maker(static_cast<int>(value)));
    last[value] = std::max(last[value], made_by);
    int& whole = last[static_cast<size_t>(PlaceOf(static_cast<int>(value)).of)];
    whole = std::max(whole, last[value]);
  }
  std::vector<int> last_sums(shapes_.size(), -1);  // what reads the sums of rows last
  for (int i = 0; i < nodes; ++i) {
    const NetworkNode& node = network_.nodes[static_cast<size_t>(i)];
    if (node.op == &kGlobalAveragePool && SummedRows(node.inputs[0]) > 0) last_sums[static_cast<size_t>(node.inputs[0])] = i;
  }
  slots_.assign(shapes_.size(), -1);
  twin_slots_ = sums_slots_ = slots_;
  for (size_t value = 0; value < shapes_.size(); ++value) {
    const bool is_input = network_.IsInput(static_cast<int>(value));
    const size_t node = network_.maker(static_cast<int>(value));  // of an input none
    const int made_by = is_input ? -1 : static_cast<int>(node);
    if (!is_input && inner_[node]) continue;
    const size_t whole = static_cast<size_t>(PlaceOf(static_cast<int>(value)).of);
    if (slots_[whole] < 0) slots_[whole] = SlotFor(layouts_[whole], made_by, last[whole]);
    slots_[value] = slots_[whole];
    if (last_sums[value] >= 0)
      sums_slots_[value] = SlotFor(RowSumsLayout(layouts_[value], SummedRows(static_cast<int>(value))), made_by, last_sums[value]);
    if (HasTwin(static_cast<int>(value))) twin_slots_[value] = SlotFor(twins_[value], made_by, last[value]);
  }
}

int MemoryPlan::SlotFor(const Layout& layout, int made, int last) {
  const auto fits = [&](const Slot& slot) { return slot.busy_until < made && slot.layout.SharesBorders(layout); };
  auto found = std::find_if(taken_.begin(), taken_.end(), fits);
  if (found == taken_.end()) {
    found = taken_.insert(taken_.end(), Slot{layout, 0});
    slot_sizes_.push_back(0);
  }
  found->busy_until = last;
  const size_t slot = static_cast<size_t>(found - taken_.begin());
  slot_sizes_[slot] = std::max(slot_sizes_[slot], RoundUp(layout.elements()));
  return static_cast<int>(slot);
}

}  // namespace repfuse
