import { writeFileSync } from 'node:fs';
import { toBinary } from '@bufbuild/protobuf';
import { foldOnnx } from '../../lib/convert';
import { readModel } from '../../lib/engine';
import { parseOnnx } from '../../lib/onnx';
import { ModelSchema, type Node } from '../../lib/onnx/schema/onnx_pb';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();
const one = Tensor.f32([1], [1]);

function modelOf(nodes: readonly Node[], opset = 17) {
  return model([...nodes], { one }, { inputs: { x: [1, 2, 4, 4] }, outputs: ['y'], opset });
}

const parsed = (nodes: readonly Node[], opset?: number) =>
  parseOnnx(toBinary(ModelSchema, modelOf(nodes, opset).proto), 'odd.onnx');

test.each(['Add', 'Mul', 'Sub', 'Div', 'PRelu', 'MatMul'])(
  'a %s of three inputs is refused by both readers',
  async (operator) => {
    const file = path(`${operator}.onnx`);
    const odd = modelOf([node('Relu', ['x'], ['a']), node(operator, ['x', 'a', 'one'], ['y'])]);
    writeFileSync(file, toBinary(ModelSchema, odd.proto)); // writeOnnx refuses it too
    const told = {
      code: 'ERR_REPFUSE_GRAPH',
      message: `Expected 2 inputs for the ONNX node ${operator} "${operator}:y" in ${file} but received 3`,
      details: { file, node: `${operator}:y`, operator },
    };
    expect(await refusal(readModel(file))).toMatchObject(told);
    expect(await refusal(foldOnnx(file, path('out.onnx')))).toMatchObject(told);
  },
);

test.each<[string, number, readonly Node[], RegExp]>([
  ['an input too many', 17, [node('Relu', ['x', 'one'], ['y'])], /Expected 1 input for .*Relu.* received 2/],
  ['a left out input too many', 17, [node('Relu', ['x', ''], ['y'])], /Expected 1 input for .*Relu.* received 2/],
  ['inputs that are missing', 17, [node('Add', ['x'], ['y'])], /Expected 2 inputs for .*Add.* received 1/],
  ['an input that is left out', 17, [node('Add', ['x', ''], ['y'])], /Expected 2 inputs for .*Add.* received 1/],
  ['no input', 17, [node('Sum', [], ['y'])], /Expected at least 1 inputs for .*Sum.* received 0/],
  ['no output', 17, [node('Relu', ['x'], ['y']), node('Relu', ['x'], [])], /Expected 1 output for .*Relu.* received 0/],
  ['an output too many', 17, [node('Conv', ['x', 'one'], ['y', 'z'])], /Expected 1 output for .*Conv.* received 2/],
  ['a convolution of four', 17, [node('Conv', ['x', 'one', 'one', 'one'], ['y'])], /Expected 2 to 3 inputs for .*Conv/],
  [
    'a BatchNormalization of six',
    17,
    [node('BatchNormalization', ['x', 'one', 'one', 'one', 'one', 'one'], ['y'])],
    /Expected 5 inputs/,
  ],
  [
    'bounds that came later',
    10,
    [node('Clip', ['x', 'one', 'one'], ['y'])],
    /Expected 1 input for .*Clip.* received 3/,
  ],
  [
    'outputs that went',
    17,
    [node('BatchNormalization', ['x', 'one', 'one', 'one', 'one'], ['y', 'a', 'b', 'c'])],
    /Expected 1 to 3 outputs/,
  ],
])('%s', (_, opset, nodes, message) => {
  expect(() => parsed(nodes, opset)).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_GRAPH', message: expect.stringMatching(message) }),
  );
});

test('a node inside a node is looked at too', () => {
  const inner = model([node('Mul', ['x', 'x', 'x'], ['y'])], {}, { inputs: {}, outputs: ['y'] }).proto.graph;
  const branches = { then_branch: inner, else_branch: inner };
  expect(() => parsed([node('If', ['one'], ['y'], branches)])).toThrow(/Expected 2 inputs for the ONNX node Mul/);
});

test('options, sums of any number, other domains and unknown operators stand', () => {
  const other = node('Add', ['x', 'x', 'x'], ['c']);
  other.domain = 'com.example';
  const nodes = [
    node('Clip', ['x', '', 'one'], ['a']),
    node('Sum', ['a', 'x', 'x', 'x'], ['b']),
    other,
    node('constructor', ['b', 'c'], ['d', 'e']),
    node('Concat', ['d', 'e', 'a'], ['y'], { axis: 1 }),
  ];
  expect(parsed(nodes).proto.graph.node).toHaveLength(5);
  expect(parsed([node('Clip', ['x', 'one', 'one'], ['y'])], 11).opset).toBe(11);
});
