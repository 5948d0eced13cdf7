import { inspect } from 'node:util';
import { Engine } from '../../lib/engine';
import { type GraphNode, parseGraph } from '../../lib/graph';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
import { smallNet } from './small-net';

/** Engines of one operator, or a few, on images [2, 4, 4]. */
async function engineOf(nodes: GraphNode[], extra: object = {}): Promise<Engine> {
  const graph = parseGraph({ input: 'x', output: nodes.at(-1)!.id, nodes, inputShape: [2, 4, 4], ...extra });
  return Engine.create({ graph, tensors: new Map() });
}

test('an engine tells its inputs, outputs and labels', async () => {
  const { graph, tensors } = netFromSeed('repvgg_a0', { form: 'deploy', classes: 2 });
  using engine = await Engine.create({ graph: { ...graph, labels: ['cat', 'dog'] }, tensors });
  expect(engine.inputs).toEqual([{ name: 'x', dtype: 'F32', shape: ['N', 3, 'H', 'W'] }]);
  expect(engine.outputs).toEqual([{ name: 'logits', dtype: 'F32', shape: ['N', 2] }]);
  expect(engine.labels).toEqual(['cat', 'dog']);
});

test('sizes that the graph leaves open have names, and what it does not tell is null', async () => {
  using engine = await Engine.create(smallNet());
  expect(engine.inputs).toEqual([{ name: 'x', dtype: 'F32', shape: ['N', 3, 'H', 'W'] }]);
  expect(engine.outputs).toEqual([{ name: 'c', dtype: 'F32', shape: null }]);
  expect(engine.labels).toBeUndefined();
});

test('several outputs, in their order; sizes that grow with the number of images', async () => {
  const relu = { id: 'r', op: 'relu', inputs: ['x'] } as const;
  const rows = { id: 'rows', op: 'reshape', inputs: ['r'], shape: [-1, 16] } as const;
  using engine = await engineOf([relu, rows], { output: 'rows', outputs: ['rows', 'r'] });
  expect(engine.outputs.map(({ name, shape }) => [name, shape])).toEqual([
    ['rows', ['2 N', 16]],
    ['r', ['N', 2, 4, 4]],
  ]);
  const [first, second] = [...(await engine.runAll(Tensor.f32([3, 2, 4, 4]))).values()];
  expect([first!.shape, second!.shape]).toEqual([
    [6, 16],
    [3, 2, 4, 4],
  ]);
});

test('a network of one image says so', async () => {
  using engine = await engineOf([{ id: 'y', op: 'reshape', inputs: ['x'], shape: [1, 32] }]);
  expect(engine.inputs[0]!.shape).toEqual([1, 2, 4, 4]);
  expect(engine.outputs[0]!.shape).toEqual([1, 32]);
});

test('console.log of an engine and of a tensor is a line with its name', async () => {
  const engine = await engineOf([{ id: 'y\u001b[2J', op: 'relu', inputs: ['x'] }]);
  expect(inspect(engine)).toMatch(/^Engine \(x \[N, 2, 4, 4\] -> y\\u001b\[2J \[N, 2, 4, 4\], \d+ threads\)$/);
  engine.dispose();
  expect(inspect(engine)).toMatch(/threads, disposed of\)$/);
  expect(inspect(Tensor.f32([1, 3, 224, 224]))).toBe('Tensor [1, 3, 224, 224] f32');
  expect(inspect({ weights: new Map([['w', new Tensor('BF16', [2], new Uint16Array(2))]]) })).toBe(
    "{ weights: Map(1) { 'w' => Tensor [2] bf16 } }",
  );
});
