import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { erf } from '../support/erf';
import { model, node } from '../support/onnx-model';

const NUMBERS = {
  half: 0.5,
  one: 1,
  two: 2,
  three: 3,
  six: 6,
  zero: 0,
  sixth: 1 / 6,
  root2: Math.SQRT2,
  half2: Math.SQRT1_2,
  minusHalf2: -Math.SQRT1_2,
  root2pi: Math.sqrt(2 / Math.PI),
  share: 0.044715,
  other: 0.7,
};
const tensors = Object.fromEntries(Object.entries(NUMBERS).map(([name, value]) => [name, Tensor.f32([], [value])]));

/** An expression as nodes: its operators in postfix order, `Add:x,one`, each of which is called by its place. */
function graphOf(text: string) {
  const steps = text.split(' ');
  const nodes = steps.map((step, i) => {
    const [type, inputs] = step.split(':') as [string, string];
    return node(type, inputs.split(','), [i === steps.length - 1 ? 'y' : `${i}`]);
  });
  return fromOnnx(model(nodes, tensors, { inputs: { x: [41] }, outputs: ['y'], opset: 17 }));
}

const x = Tensor.f32(
  [41],
  Float32Array.from({ length: 41 }, (_, i) => (i - 20) / 4),
);
const softplus = (value: number) => Math.log1p(Math.exp(value));
const OF: Record<string, (value: number) => number> = {
  gelu: (value) => 0.5 * value * (1 + erf(value * Math.SQRT1_2)),
  gelu_tanh: (value) => 0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3))),
  mish: (value) => value * Math.tanh(softplus(value)),
  hardswish: (value) => (value * Math.min(Math.max(value + 3, 0), 6)) / 6,
  silu: (value) => value / (1 + Math.exp(-value)),
};

test.each([
  ['gelu', 'Div:x,root2 Erf:0 Add:1,one Mul:x,2 Mul:3,half'], // torch's classic exporter
  ['gelu', 'Mul:x,half2 Erf:0 Add:1,one Mul:x,half Mul:3,2'], // torch's dynamo exporter
  ['gelu', 'Mul:x,half Div:x,root2 Erf:1 Add:one,2 Mul:0,3'], // TF
  ['gelu', 'Mul:x,half2 Erf:0 Add:1,one Mul:2,half Mul:x,3'],
  ['gelu', 'Mul:x,minusHalf2 Erf:0 Sub:one,1 Mul:half,x Mul:2,3'], // of erfc
  ['gelu', 'Div:x,root2 Erf:0 Add:1,one Mul:x,2 Div:3,two'],
  ['gelu_tanh', 'Pow:x,three Mul:0,share Add:x,1 Mul:2,root2pi Tanh:3 Add:4,one Mul:x,half Mul:6,5'],
  ['gelu_tanh', 'Mul:x,x Mul:0,x Mul:share,1 Add:2,x Mul:root2pi,3 Tanh:4 Add:one,5 Mul:half,6 Mul:x,7'],
  ['gelu_tanh', 'Mul:x,x Mul:0,share Add:1,one Mul:x,2 Mul:3,root2pi Tanh:4 Add:5,one Mul:x,6 Mul:7,half'],
  ['mish', 'Softplus:x Tanh:0 Mul:x,1'],
  ['mish', 'Exp:x Add:one,0 Log:1 Tanh:2 Mul:3,x'],
  ['hardswish', 'Add:x,three Clip:0,zero,six Mul:x,1 Div:2,six'],
  ['hardswish', 'Add:three,x Clip:0,zero,six Div:1,six Mul:2,x'],
  ['hardswish', 'Add:x,three Clip:0,zero,six Mul:1,x Mul:2,sixth'],
  ['hardswish', 'Mul:x,sixth Add:0,half Clip:1,zero,one Mul:x,2'],
  ['silu', 'Sigmoid:x Mul:x,0'],
])('%s as %s', async (op, text) => {
  const network = graphOf(text);
  expect(network.graph.nodes.map((each) => each.op)).toEqual([op]);
  await using engine = await Engine.create(network);
  const y = (await engine.run(x)).data;
  const want = [...x.data].map((value) => OF[op]!(Number(value)));
  const peak = Math.max(...want.map(Math.abs));
  for (const [i, value] of want.entries()) expect(Math.abs(value - y[i]!) / peak).toBeLessThan(1e-6);
});

test.each([
  'Mul:x,half2 Erf:0 Add:1,one Mul:0,2 Mul:3,half', // times another value than what it is of
  'Mul:x,other Erf:0 Add:1,one Mul:x,2 Mul:3,half',
  'Mul:x,half2 Erf:0 Add:1,one Mul:x,2 Mul:3,other',
  'Mul:x,half2 Erf:0 Add:1,two Mul:x,2 Mul:3,half',
  'Mul:x,minusHalf2 Erf:0 Sub:1,one Mul:half,x Mul:2,3',
  'Pow:x,two Mul:0,share Add:x,1 Mul:2,root2pi Tanh:3 Add:4,one Mul:x,half Mul:6,5',
  'Add:x,three Clip:0,zero,three Mul:x,1 Div:2,six',
  'Add:x,three Clip:0,zero,six Mul:x,1 Div:six,2',
  'Add:x,three Relu:0 Clip:1,x,six Mul:x,2 Div:3,six',
  'Softplus:x Tanh:0 Mul:0,1',
  'HardSigmoid:x Mul:x,0',
])('%s is what it is', (text) => {
  const ops = graphOf(text).graph.nodes.map((each) => each.op);
  for (const op of Object.keys(OF)) expect(ops).not.toContain(op);
});
