import {
  Engine,
  evaluate,
  evaluateAsync,
  exportOnnx,
  type Graph,
  netFromSeed,
  normalizeInput,
  Tensor,
} from '../../lib';
import { deployGraph, graphMetadata, inferShapes } from '../../lib/graph/public';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const { graph, tensors } = netFromSeed('mobileone_s0', { form: 'deploy', classes: 2 });
const [first, ...others] = graph.nodes;
const image = Tensor.f32([1, 3, 224, 224]);

/** Graphs that look right to a caller without types. */
const BAD: Record<string, unknown> = {
  'padding_mode that is none of ours': { ...graph, nodes: [{ ...first, padding_mode: 'reflect' }, ...others] },
  'a stride of holes': { ...graph, nodes: [{ ...first, stride: new Array(2) }, ...others] },
  'an operator that is none': { ...graph, nodes: [{ ...first, op: 'constructor' }, ...others] },
  'an input that is none': { ...graph, nodes: [{ ...first, inputs: ['nothing'] }, ...others] },
  'a node twice': { ...graph, nodes: [first, first, ...others] },
  'nodes that are none': { ...graph, nodes: {} },
  'an output that is none': { ...graph, output: 'nothing' },
  'a getter that throws': Object.defineProperty({ ...graph }, 'nodes', {
    get() {
      throw new TypeError('a trap');
    },
  }),
};

test.each(Object.entries(BAD))('%s is refused wherever a graph comes in', async (_, bad) => {
  const wrong = bad as Graph;
  const errors = await Promise.all([
    refusal(Engine.create({ graph: wrong, tensors })),
    refusal((async () => evaluate(wrong, tensors, image))()),
    refusal(evaluateAsync(wrong, tensors, image)),
    refusal((async () => inferShapes(wrong, image.shape, tensors))()),
    refusal((async () => normalizeInput(wrong, image))()),
    refusal((async () => graphMetadata(wrong))()),
    refusal((async () => deployGraph(wrong, []))()),
    refusal(exportOnnx(folder.path('x.onnx'), { graph: wrong, tensors })),
  ]);
  expect(errors.map(({ code }) => code)).toEqual(errors.map(() => 'ERR_REPFUSE_GRAPH'));
});

test('a graph that was changed after it was parsed is looked at again', async () => {
  const changed = structuredClone(graph) as unknown as { nodes: Record<string, unknown>[] };
  const engine = await Engine.create({ graph: changed as unknown as Graph, tensors });
  engine.dispose();
  changed.nodes[0]!.padding_mode = 'reflect';
  expect(await refusal(Engine.create({ graph: changed as unknown as Graph, tensors }))).toMatchObject({
    code: 'ERR_REPFUSE_GRAPH',
    message: expect.stringContaining('padding_mode'),
  });
});

test('shapes in messages differ: an image without its batch', async () => {
  const one = Tensor.f32([3, 224, 224]);
  using engine = await Engine.create({ graph, tensors });
  expect((await refusal(engine.run(one))).message).toBe('Expected images [N, 3, H, W] but received [3, 224, 224]');
  expect(() => normalizeInput(graph, one)).toThrow('Expected images [N, 3, H, W] but received [3, 224, 224]');
  expect((await refusal(engine.run(image, { out: Tensor.f32([1, 3]) }))).message).toBe(
    'Expected [1, 2] for out but received [1, 3]',
  );
  const tensorsMap = new Map<string, unknown>([...tensors, ['x', {}]]) as typeof tensors;
  expect((await refusal(Engine.create({ graph, tensors: tensorsMap }))).message).toBe(
    'Expected a Tensor for "x" of tensors but received an empty object',
  );
});
