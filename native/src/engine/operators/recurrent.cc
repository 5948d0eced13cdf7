// Recurrent layers (LSTM, GRU, plain) over what their inputs add to each gate, which is reckoned before for all times at once.
//
// Inputs: gates [time, batch, directions * gates * units], then, where they are given, the first hidden state and (LSTM) cell state, both
// [directions, batch, units]. The constant: [directions, gates * units, units + 1], weights of the state before, then a bias. Result: the
// state after each time, [time, directions, batch, units]. Gates stand in ONNX's order: i o f c, z r h.
#include <algorithm>
#include <cmath>
#include <vector>

#include "operator.h"
#include "repfuse/checked.h"

namespace repfuse {
namespace {

enum Cell { kPlain, kPlainRelu, kGru, kGruResetAfter, kLstm, kCells };
enum Direction { kForward, kReverse, kBoth, kDirections };

int64_t GatesOf(int64_t cell) { return cell == kLstm ? 4 : cell == kGru || cell == kGruResetAfter ? 3 : 1; }

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// The node's integers: cell, direction, units.
Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (node.ints.size() != 3 || node.ints[0] < 0 || node.ints[0] >= kCells || node.ints[1] < 0 || node.ints[1] >= kDirections ||
      node.ints[2] < 1)
    return Fails("the cell");
  const int64_t directions = node.ints[1] == kBoth ? 2 : 1, units = node.ints[2];
  const Checked gates = Checked(GatesOf(node.ints[0])) * units * directions, bytes = gates * (Checked(units) + 1) * 4;
  if (!bytes.ok() || x.rank != 3 || x[2] != gates.value()) return Fails("the sizes of the gates");
  if (node.bias.bytes() != static_cast<size_t>(bytes.value())) return Fails("the size of a constant");
  if (inputs.size() > (node.ints[0] == kLstm ? 3 : 2)) return Fails("the number of states");
  for (const Shape& state : inputs.subspan(1)) {
    if (state != Shape::Of({directions, x[1], units})) return Fails("the shape of a state");
  }
  *out = Shape::Of({x[0], directions, x[1], units});
  return Ok();
}

std::unique_ptr<Step> RecurrentStep(const StepParts& parts) {
  std::vector<Value> inputs;
  for (const ShapedValue& input : parts.inputs) inputs.push_back(input.value);
  const Shape& x = parts.inputs[0].shape;
  const int64_t cell = parts.node.ints[0], units = parts.node.ints[2], gates = GatesOf(cell), times = x[0], batch = x[1];
  const bool only_back = parts.node.ints[1] == kReverse;
  const int64_t directions = parts.node.ints[1] == kBoth ? 2 : 1, sequences = directions * batch;
  const float* constant = parts.node.bias.as<float>();
  std::vector<float> weight(constant, constant + directions * gates * units * (units + 1));
  const DotF32 dot = parts.kernels.dot;
  // Each sequence is one thread's, with the workspace: its state, its cell state, what the state adds to the gates.
  const auto body = [=, output = parts.output.value, weight = std::move(weight)](const RunState& run) {
    ForEach(sequences, run.threads, [&](int64_t sequence, int slot) {
      const int64_t direction = sequence / batch, n = sequence % batch;
      const bool back = only_back || direction == 1;
      float* h = run.workspace + slot * run.workspace_size;
      float *c = h + units, *added = c + units;
      for (const auto& [state, index] : {std::pair{h, size_t{1}}, std::pair{c, size_t{2}}}) {
        if (index < inputs.size()) std::copy_n(run.at(inputs[index]) + sequence * units, units, state);
        else std::fill_n(state, units, 0.0f);
      }
      const float* weights = weight.data() + direction * gates * units * (units + 1);
      const auto product = [&](int64_t row, const float* state) {
        const float* w = weights + row * (units + 1);
        return dot(state, w, static_cast<size_t>(units)) + w[units];
      };
      for (int64_t step = 0; step < times && !Cancelled(); ++step) {
        const int64_t time = back ? times - 1 - step : step;
        const float* gate = run.at(inputs[0]) + ((time * batch + n) * directions + direction) * gates * units;
        const int64_t before_reset = cell == kGru ? 2 * units : gates * units;
        for (int64_t row = 0; row < before_reset; ++row) added[row] = product(row, h);
        if (cell == kGru) {
          // The reset gate scales the state before its product: c holds the scaled one.
          for (int64_t i = 0; i < units; ++i) c[i] = Sigmoid(gate[units + i] + added[units + i]) * h[i];
          for (int64_t row = 2 * units; row < 3 * units; ++row) added[row] = product(row, c);
        }
        for (int64_t i = 0; i < units; ++i) {
          const auto sum = [&](int64_t which) { return gate[which * units + i] + added[which * units + i]; };
          switch (cell) {
            case kLstm:
              c[i] = Sigmoid(sum(2)) * c[i] + Sigmoid(sum(0)) * std::tanh(sum(3));
              h[i] = Sigmoid(sum(1)) * std::tanh(c[i]);
              break;
            case kGru:
            case kGruResetAfter: {
              const float z = Sigmoid(sum(0)), reset = cell == kGru ? 1.0f : Sigmoid(sum(1));
              h[i] = (1.0f - z) * std::tanh(gate[2 * units + i] + reset * added[2 * units + i]) + z * h[i];
              break;
            }
            default: h[i] = cell == kPlain ? std::tanh(sum(0)) : std::max(sum(0), 0.0f);
          }
        }
        std::copy_n(h, units, run.at(output) + ((time * directions + direction) * batch + n) * units);
      }
    });
  };
  return MakeStep(parts, "recurrent", body, (2 + gates) * units);
}

}  // namespace

const Operator kRecurrent{"recurrent", {1, 3}, ValueTypes::kTensors, Result, RecurrentStep};

}  // namespace repfuse
