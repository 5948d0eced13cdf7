import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { convert } from '../../lib/convert';
import { exportOnnx, parseGraph } from '../../lib/graph';
import { NET_NAMES, netFromSeed } from '../../lib/nets';
import { foldGraph, readOnnx } from '../../lib/onnx';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, readFixtureTensors, readManifest } from '../support/fixtures';
import { referenceOnnx } from '../support/reference-onnx';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';
import { fixtureStateDict } from '../support/tensors';

const { path } = temporaryFolder();

async function outputOf(
  file: string,
  input: { shape: readonly number[]; data: ArrayLike<number> },
): Promise<Float64Array> {
  const { graph } = (await readOnnx(file)).proto;
  return Float64Array.from(referenceOnnx(graph, { [graph.input[0]!.name]: input }).get(graph.output[0]!.name)!.data);
}

describe.each(fixtureCases('blocks'))('blocks/%s as ONNX', (name) => {
  const manifest = readManifest('blocks', name);
  const tensors = readFixtureTensors(fixturePath('blocks', manifest.files.tensors));
  const { shape, data } = tensors.get('input')!;
  const want = (tensors.get('output@f64') ?? tensors.get('output'))!.data as Float64Array;

  test.each(['train', 'deploy'])('the %s form computes what it did, before and after folding', async (form) => {
    const graph = parseGraph({ ...manifest[`${form}_graph`], inputShape: shape.slice(1) });
    const weights = fixtureStateDict(fixturePath('blocks', manifest.files[`${form}_safetensors`]));
    const file = path(`${name}.${form}.onnx`);
    await exportOnnx(file, { graph, tensors: weights });
    const input = { shape, data: data as Float32Array };
    const tolerance = manifest.tolerance[`${form}_output_rel_peak_f32`];
    expect(peakError(await outputOf(file, input), want)).toBeLessThanOrEqual(tolerance);
    const { model } = await foldGraph(await readOnnx(file));
    const folded = referenceOnnx(model.proto.graph, { [graph.input]: input }).get(graph.output)!;
    expect(peakError(Float64Array.from(folded.data), want)).toBeLessThanOrEqual(tolerance);
  });
});

test('convert writes the deploy form of a known network as ONNX', async () => {
  const graph = { ...readManifest('trained', 'digits-acnet').train_graph, inputShape: [1, 8, 8] };
  await convert(fixturePath('trained', 'digits-acnet.pth'), path('digits.onnx'), { graph });
  const model = await readOnnx(path('digits.onnx'));
  const deploy = readManifest('trained', 'digits-acnet').deploy_graph.nodes.filter(
    ({ op }: { op: string }) => op === 'conv2d',
  );
  expect(model.proto.graph.node.filter(({ opType }) => opType === 'Conv')).toHaveLength(deploy.length);
  const { tensors } = await readCheckpoint(fixturePath('trained', 'digits-acnet.deploy.safetensors'));
  expect(tensors.size).toBeGreaterThan(0);
});

test('what ONNX output needs is said', async () => {
  const source = fixturePath('trained', 'digits-acnet.pth');
  const graph = { ...readManifest('trained', 'digits-acnet').train_graph, inputShape: [1, 8, 8] };
  expect(await refusal(convert(source, path('no.onnx')))).toMatchObject({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: expect.stringContaining('`graph` or `arch`'),
  });
  expect(await refusal(convert(source, path('no.onnx'), { graph, dtype: 'f16' }))).toMatchObject({
    message: expect.stringContaining('f16'),
  });
  const net = netFromSeed('repvgg_a0', { form: 'deploy' });
  expect(await refusal(exportOnnx(path('no.onnx'), net, { opset: 9 }))).toMatchObject({
    message: expect.stringContaining('opset'),
  });
});

test('networks by name export, in both forms', async () => {
  // The large ones, of groups and squeeze-excitation, are for `npm run trust`: blocks of both kinds are above.
  const names =
    process.env.REPFUSE_EXPORTS === 'all'
      ? /^(repvgg_(a0|b1g2|d2se)|mobileone_s[01])$/
      : /^(repvgg_a0|mobileone_s[01])$/;
  for (const name of NET_NAMES.filter((each) => names.test(each))) {
    for (const form of ['train', 'deploy'] as const) {
      const net = netFromSeed(name, { form, classes: 10 });
      await exportOnnx(path('net.onnx'), net, { force: true });
      const { model, report } = await foldGraph(await readOnnx(path('net.onnx')));
      if (form === 'deploy') expect(report.folded).toEqual([]);
      else expect(model.proto.graph.node.some(({ opType }) => opType === 'BatchNormalization')).toBe(false);
    }
  }
});
