import { foldOnnx } from '../../lib/convert';
import { Engine, readModel } from '../../lib/engine';
import { evaluateAsync } from '../../lib/graph';
import { foldGraph } from '../../lib/onnx/fold/fold';
import { readOnnx } from '../../lib/onnx/model';
import { protoOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { FIXTURES, readFixtureTensors } from '../support/fixtures';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();

const FOLDER = `${FIXTURES}/onnx-dbb`;
const expected = readFixtureTensors(`${FOLDER}/expected.safetensors`);
const input = Tensor.f32(expected.get('x')!.shape, expected.get('x')!.data as Float32Array);
const want = expected.get('y')!.data as Float64Array;

describe.each(['classic', 'dynamo', 'dynamo-dynamic'])("a frame of DBB's as torch exports it: %s", (name) => {
  const file = `${FOLDER}/${name}.onnx`;

  test('folds into one convolution, which computes what torch does', async () => {
    const output = path(`${name}.onnx`);
    const { folded, convolutions, nodes, verification } = await foldOnnx(file, output, { verify: true });
    expect(folded).toMatchObject([{ output: 'y', kernel: [3, 3] }]);
    expect([convolutions, nodes.after]).toEqual([{ before: 3, after: 1 }, 1]);
    expect(verification).toMatchObject({ equal: true });
    await using engine = await Engine.create(await readModel(output));
    expect(peakError((await engine.run(input)).data as Float32Array, want)).toBeLessThan(1e-6);
  });

  test('runs as it is, operator by operator and in the engine', async () => {
    const { graph, tensors } = await readModel(file);
    expect(graph.nodes.map(({ op }) => op)).toEqual(['conv2d', 'conv2d', 'pad', 'conv2d', 'add']);
    const eager = await evaluateAsync(graph, tensors, input);
    await using engine = await Engine.create({ graph, tensors });
    for (const got of [eager, await engine.run(input)])
      expect(peakError(got.data as Float32Array, want)).toBeLessThan(1e-6);
  });
});

test('a frame of another value than the convolution makes of zeros stays', async () => {
  const model = await readOnnx(`${FOLDER}/dynamo.onnx`);
  const { graph } = model.proto;
  const initializer = graph.initializer.map((each) =>
    each.name === 'b1.weight_bias' ? protoOf(each.name, Tensor.f32([3], [1, 2, 3])) : each,
  );
  const other = { ...model, proto: { ...model.proto, graph: { ...graph, initializer } } };
  const { model: same, report } = await foldGraph(other);
  expect(same).toBe(other);
  expect(report.kept.map(({ reason }) => reason)).toContain(
    'its frame is not what the convolution before it makes of zeros',
  );
});

test('assignments of sizes that the model leaves open, but for one, are no frame', async () => {
  const model = await readOnnx(`${FOLDER}/classic-wrongly-dynamic.onnx`);
  const { model: same, report } = await foldGraph(model);
  expect(same).toBe(model);
  expect(report.kept.filter(({ node }) => node.startsWith('ScatterND'))).toHaveLength(4);
});
