import { foldOnnx } from '../../lib/convert';
import { Engine } from '../../lib/engine';
import { evaluateValues, outputsOf, readOnnxModel } from '../../lib/graph';
import { writeOnnx } from '../../lib/onnx/model';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import type { FixtureTensor } from '../support/fixtures';
import { model, node } from '../support/onnx-model';
import { readExpected, reportedPath } from '../support/reported';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();

/** The largest error of an output, in the engine or operator by operator. */
async function errorOf(file: string, input: Tensor, outputs: ReadonlyMap<string, FixtureTensor>): Promise<number> {
  const { graph, tensors, aliases } = await readOnnxModel(file);
  using engine = await Engine.create({ graph, tensors });
  const runs = [await engine.runAll(input), await evaluateValues(graph, tensors, input, [...outputsOf(graph)], {})];
  const errors = [...outputs].flatMap(([name, want]) =>
    runs.map((run) => peakError(run.get(aliases.get(name) ?? name)!.data as Float32Array, want.data as Float32Array)),
  );
  return Math.max(...errors);
}

describe.each(['concat70_mean', 'out70', 'convchain65', 'convbn70'])('%s: nothing ends at 64', (name) => {
  const { input, outputs } = readExpected(name);

  test('as it is and folded, in the engine and operator by operator', async () => {
    const given = reportedPath(`${name}.onnx`);
    const { output } = await foldOnnx(given, path(`${name}.onnx`));
    for (const file of new Set([given, output ?? given]))
      expect(await errorOf(file, input, outputs)).toBeLessThan(1e-5);
  });
});

test('a chain of 65 convolutions becomes one', async () => {
  const { convolutions } = await foldOnnx(reportedPath('convchain65.onnx'), path('chain.onnx'));
  expect(convolutions).toEqual({ before: 65, after: 1 });
});

/** Each of these makes 65 or more of something; the right value follows from plain numbers. */
const MANY = [63, 64, 65, 66, 130, 1000];

describe.each(MANY)('%i of everything', (count) => {
  const names = Array.from({ length: count }, (_, i) => `v${i}`);
  const input = Tensor.f32([1, 1, 1, 2], Float32Array.of(1, -2));
  const scaled = names.map((name, i) => node('Mul', ['x', `c${i}`], [name]));
  const constants = Object.fromEntries(names.map((_, i) => [`c${i}`, Tensor.f32([], Float32Array.of(i + 1))]));
  const total = (count * (count + 1)) / 2;
  const expected = (values: number[], shape = [1, 1, 1, 2]) =>
    new Map([['y', { dtype: 'F32', shape, data: Float32Array.from(values) }]]);

  test('inputs of a Concat', async () => {
    const nodes = [...scaled, node('Concat', names, ['y'], { axis: 1 })];
    await writeOnnx(
      path(`concat${count}.onnx`),
      model(nodes, constants, { inputs: { x: [1, 1, 1, 2] }, outputs: ['y'] }),
    );
    const want = expected(names.flatMap((_, i) => [i + 1, -2 * (i + 1)]));
    expect(await errorOf(path(`concat${count}.onnx`), input, want)).toBeLessThan(1e-6);
  });

  test('terms of a Sum', async () => {
    const nodes = [...scaled, node('Sum', names, ['y'])];
    await writeOnnx(path(`sum${count}.onnx`), model(nodes, constants, { inputs: { x: [1, 1, 1, 2] }, outputs: ['y'] }));
    expect(await errorOf(path(`sum${count}.onnx`), input, expected([total, -2 * total]))).toBeLessThan(1e-5);
  });

  test('outputs', async () => {
    await writeOnnx(
      path(`outputs${count}.onnx`),
      model(scaled, constants, { inputs: { x: [1, 1, 1, 2] }, outputs: names }),
    );
    const want = new Map(
      names.map((name, i) => [name, { dtype: 'F32', shape: [1, 1, 1, 2], data: Float32Array.of(i + 1, -2 * (i + 1)) }]),
    );
    expect(await errorOf(path(`outputs${count}.onnx`), input, want)).toBeLessThan(1e-6);
  });
});
