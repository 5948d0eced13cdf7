import { join } from 'node:path';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { verifyOnnx } from '../../lib/convert/verify/onnx';
import { Engine, readModel } from '../../lib/engine';
import { evaluateAsync } from '../../lib/graph';
import { DTYPES } from '../../lib/tensor/dtype';
import { toFloat32 } from '../../lib/tensor/half';
import type { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { FIXTURES } from '../support/fixtures';

/** Models of several inputs and of other types, with what onnxruntime makes of them; halves lose what onnxruntime rounds in between. */
const BOUNDS = { im_shape: 2e-6, mlp: 2e-6, half: 2e-3, nhwc_bytes: 2e-6, counts: 0, signal: 2e-6 };
const folder = join(FIXTURES, 'inputs');

async function tensorsOf(name: string): Promise<ReadonlyMap<string, Tensor>> {
  return (await readCheckpoint(join(folder, name))).tensors;
}

describe.each(Object.entries(BOUNDS))('%s', (name, bound) => {
  const file = join(folder, `${name}.onnx`);

  test('runs, compiled and operator by operator, as onnxruntime does, in the types of the model', async () => {
    const model = await readModel(file);
    const inputs = await tensorsOf(`${name}.inputs.npz`);
    const wanted = await tensorsOf(`${name}.outputs.npz`);
    await using engine = await Engine.create(model);
    const got = await engine.runAll<Tensor>(inputs);
    const first = await evaluateAsync(model.graph, model.tensors, inputs);
    expect([...got.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [id, each] of [...got, [model.graph.output, first] as const]) {
      const want = wanted.get(id)!;
      expect([each.dtype, each.shape]).toEqual([want.dtype, want.shape]);
      if (DTYPES[want.dtype].floating) expect(peakError(toFloat32(each), toFloat32(want))).toBeLessThan(bound);
      else expect(each.data).toEqual(want.data);
    }
  });

  test('is verified whole, on seeded tensors of its inputs', async () => {
    const { equal, notRun, values } = await verifyOnnx(file, file, [], {});
    expect({ equal, notRun }).toEqual({ equal: true, notRun: null });
    expect(values.filter(({ of }) => of === 'output')).not.toHaveLength(0);
  });
});
