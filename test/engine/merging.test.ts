import { compileGraph } from '../../lib/engine/compile';
import type { ProgramStep } from '../../lib/engine/program';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { foldGraph } from '../../lib/onnx/fold/fold';
import type { Node } from '../../lib/onnx/schema/onnx_pb';
import { tensorOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';
import { refusalOf } from '../support/refusal';

const random = new Random(71);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));
const positive = Tensor.f32([4], [0.5, 1, 1.5, 2]);
const TENSORS = {
  w3: tensor(4, 4, 3, 3),
  v3: tensor(4, 4, 3, 3),
  w1: tensor(4, 4, 1, 1),
  two: tensor(2, 4, 1, 1),
  wide: tensor(4, 2, 3, 3),
  half: Tensor.f32([], [0.5]),
  b: tensor(4),
  c: tensor(4, 1, 1),
  s: tensor(4),
  m: tensor(4),
  v: positive,
  v4: Tensor.f32([1, 4, 1, 1], positive.data),
  pads: new Tensor('I64', [8], BigInt64Array.from([0, 0, 1, 2, 0, 0, 1, 0], BigInt)),
};
const SAME = { pads: [1, 1, 1, 1] };
const bn = (from: string, to: string) => node('BatchNormalization', [from, 's', 'b', 'm', 'v'], [to]);
const given = (nodes: readonly Node[]) => model(nodes, TENSORS, { inputs: { x: [1, 4, 9, 8] }, outputs: ['y'] });

/** The program of an ONNX model. */
function program(nodes: readonly Node[]): readonly ProgramStep[] {
  const { graph, tensors } = fromOnnx(given(nodes));
  return compileGraph(graph, tensors).steps;
}

describe('the engine and the ONNX fold merge the same graph into the same convolution', () => {
  const cases: Record<string, Node[]> = {
    'a chain': [node('Conv', ['x', 'w3'], ['a'], SAME), bn('a', 'd'), node('Mul', ['d', 'c'], ['y'])],
    'a sum': [
      node('Conv', ['x', 'w3', 'b'], ['a'], SAME),
      node('Conv', ['x', 'w1'], ['d']),
      bn('d', 'e'),
      node('Add', ['a', 'e'], ['f']),
      node('Add', ['x', 'f'], ['y']),
    ],
    'a difference': [
      node('Conv', ['x', 'w3'], ['a'], SAME),
      bn('x', 'd'),
      node('Sub', ['a', 'd'], ['e']),
      node('Mul', ['c', 'e'], ['f']),
      node('Add', ['x', 'f'], ['y']),
    ],
    'a concatenation': [
      node('Conv', ['x', 'w1', 'b'], ['a']),
      node('Conv', ['x', 'two'], ['d']),
      node('Concat', ['a', 'd'], ['y'], { axis: 1 }),
    ],
    'zeros before a convolution': [node('Pad', ['x', 'pads'], ['a']), node('Conv', ['a', 'w3', 'b'], ['y'], SAME)],
    'what a chain of two that do not pay as one is cut into': [
      node('Conv', ['x', 'two'], ['a']),
      node('Mul', ['a', 'half'], ['d']),
      node('Conv', ['d', 'wide'], ['e'], SAME),
      bn('e', 'y'),
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, nodes) => {
    const { graph } = (await foldGraph(given(nodes))).model.proto;
    const steps = program(nodes);
    const count = nodes.filter(({ input }) => input.includes('wide')).length + 1;
    expect(graph.node.map(({ opType }) => opType)).toEqual(Array(count).fill('Conv'));
    expect(steps.map(({ kind }) => kind)).toEqual(Array(count).fill('conv'));
    for (const [i, step] of steps.entries()) {
      const [weight, bias] = [1, 2].map((index) => {
        const name = graph.node[i]!.input[index];
        return tensorOf(graph.initializer.find((each) => each.name === name)!)!;
      });
      const fused = await step.fuse!({});
      expect(fused.weight.shape).toEqual(weight!.shape);
      expect(fused.weight.data).toEqual(weight!.data);
      expect(fused.bias.data).toEqual(bias!.data);
    }
  });

  test('arithmetic alone is one step of the engine, and stays what it is in a file: a Conv of its own would be slower', async () => {
    const nodes = [node('Sub', ['x', 'c'], ['a']), node('Div', ['a', 'v4'], ['y'])];
    const { model: same, report } = await foldGraph(given(nodes));
    expect(same.proto.graph.node.map(({ opType }) => opType)).toEqual(['Sub', 'Div']);
    expect(report.kept[0]!.reason).toMatch(/no convolution stands beside it/);
    expect(program(nodes).map(({ kind }) => kind)).toEqual(['conv']);
  });
});

test('both leave the same apart: growth, and a border that would differ', async () => {
  const wide = [
    node('Conv', ['x', 'w3'], ['a'], SAME),
    node('Conv', ['x', 'w1'], ['d']),
    node('Concat', ['a', 'd'], ['y'], { axis: 1 }),
  ];
  const border = [bn('x', 'a'), node('Conv', ['a', 'w3'], ['y'], SAME)];
  for (const nodes of [wide, border]) {
    const whole = given(nodes);
    expect((await foldGraph(whole)).model).toBe(whole);
    expect(program(nodes)).toHaveLength(nodes.length);
  }
});

test('the sum with another value goes into the convolution, whichever of its terms that is', () => {
  const terms = [node('Relu', ['x'], ['r']), node('Conv', ['x', 'w3'], ['a'], SAME), node('Mul', ['r', 'c'], ['d'])];
  for (const inputs of [
    ['a', 'd'],
    ['d', 'a'],
  ])
    expect(program([...terms, node('Add', inputs, ['y'])]).map(({ kind }) => kind)).toEqual([
      'activation',
      'binary',
      'conv',
    ]);
});

test('an abort ends the fold, and the fusing of a step, with its reason', async () => {
  const nodes = [node('Conv', ['x', 'w3'], ['a'], SAME), bn('a', 'y')];
  const signal = AbortSignal.abort('enough');
  await expect(foldGraph(given(nodes), { signal })).rejects.toBe('enough');
  await expect(program(nodes)[0]!.fuse!({ signal })).rejects.toBe('enough');
  const controller = new AbortController();
  const chain = Array.from({ length: 3000 }, (_, i) => node('Mul', [i === 0 ? 'x' : `t${i - 1}`, 'c'], [`t${i}`]));
  const folding = foldGraph(given([...chain, node('Relu', ['t2999'], ['y'])]), { signal: controller.signal });
  setImmediate(() => controller.abort('later'));
  await expect(folding).rejects.toBe('later');
});

test('a BatchNorm that cannot be evaluated is named', () => {
  const { graph, tensors } = fromOnnx(given([node('Conv', ['x', 'w3'], ['a'], SAME), bn('a', 'y')]));
  const bad = new Map(tensors).set('y.running_var', Tensor.f32([4], [1, -1, 1, 1]));
  expect(refusalOf(() => compileGraph(graph, bad))).toMatchObject({
    code: 'ERR_REPFUSE_NOT_FUSABLE',
    details: { node: 'y', channel: 1 },
  });
});

test('what a small graph of many channels describes is not held', () => {
  const nodes = Array.from({ length: 2000 }, (_, i) => ({
    id: `n${i}`,
    op: 'binary' as const,
    inputs: [i === 0 ? 'x' : `n${i - 1}`],
    function: 'mul' as const,
    constant: 'c',
  }));
  const graph = { input: 'x', output: 'n1999', inputShape: [1e6, 1, 1] as const, nodes };
  const before = process.memoryUsage().arrayBuffers;
  const { steps } = compileGraph(graph, new Map([['c', Tensor.f32([1], [2])]]));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(5e8);
  expect(steps.length).toBeGreaterThan(1900);
});
