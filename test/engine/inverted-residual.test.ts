import { Engine } from '../../lib/engine';
import type { Graph, GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// Whatever kernels the three convolutions of an inverted residual get: as YuNet has it, matrix tiles project what vectors expand.

const random = new Random(3);
const conv = (id: string, input: string, groups: number, padding: number): GraphNode => ({
  ...{ id, op: 'conv2d', inputs: [input], weight: id, bias: null, stride: [1, 1], dilation: [1, 1], groups },
  padding: [padding, padding],
});
const graph: Graph = {
  input: 'x',
  output: 'project',
  inputShape: [16, 80, 80],
  nodes: [conv('expand', 'x', 1, 0), conv('depth', 'expand', 64, 1), conv('project', 'depth', 1, 0)],
};
const tensors = new Map([
  ['expand', Tensor.f32([64, 16, 1, 1], random.floats(64 * 16))],
  ['depth', Tensor.f32([64, 1, 3, 3], random.floats(64 * 9))],
  ['project', Tensor.f32([64, 64, 1, 1], random.floats(64 * 64))],
]);
const x = Tensor.f32([1, 16, 80, 80], random.floats(16 * 80 * 80));

test.each(availableIsas())('%s: each precision as in one step after the other', async (isa) => {
  await withIsa(isa, async () => {
    await using plain = await Engine.create({ graph, tensors }, { algorithm: 'float64' });
    const want = Float64Array.from((await plain.run(x)).data as Float32Array);
    for (const [precision, bound] of [
      ['f32', 2e-6],
      ['fast', 1e-4],
      ['bf16', 2e-2],
    ] as const) {
      await using engine = await Engine.create({ graph, tensors }, { precision });
      expect(peakError((await engine.run(x)).data as Float32Array, want)).toBeLessThan(bound);
    }
  });
});
