import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { detectBlocks } from '../../lib/families';
import {
  batchNormEps,
  deployGraph,
  evaluate,
  evaluateAsync,
  inferShapes,
  normalizeInput,
  parseGraph,
} from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, type Manifest, readFixtureTensors, readManifest } from '../support/fixtures';
import { fixtureStateDict } from '../support/tensors';

function f32(tensors: ReturnType<typeof readFixtureTensors>, name: string): Tensor {
  const { shape, data } = tensors.get(name)!;
  return Tensor.f32(shape, data as Float32Array);
}

const golden = (tensors: ReturnType<typeof readFixtureTensors>, name: string) =>
  (tensors.get(`${name}@f64`) ?? tensors.get(name))!.data as Float64Array;

describe.each(fixtureCases('blocks'))('graph of blocks/%s', (name) => {
  const manifest = readManifest('blocks', name);
  const tensors = readFixtureTensors(fixturePath('blocks', manifest.files.tensors));
  const input = f32(tensors, 'input');
  const want = golden(tensors, 'output');
  const train = fixtureStateDict(fixturePath('blocks', manifest.files.train_safetensors));
  const deploy = fixtureStateDict(fixturePath('blocks', manifest.files.deploy_safetensors));

  test('training form', async () => {
    const graph = parseGraph(manifest.train_graph);
    const got = evaluate(graph, train, input);
    expect(inferShapes(graph, input.shape, train).get(graph.output)).toEqual(got.shape);
    expect(peakError(got.data as Float32Array, want)).toBeLessThanOrEqual(manifest.tolerance.train_output_rel_peak_f32);
    expect((await evaluateAsync(graph, train, input)).data).toEqual(got.data);
  });

  test('deploy form, as given and as rewritten from the training form', () => {
    const given = evaluate(parseGraph(manifest.deploy_graph), deploy, input);
    expect(peakError(given.data as Float32Array, want)).toBeLessThanOrEqual(
      manifest.tolerance.deploy_output_rel_peak_f32,
    );
    const graph = parseGraph(manifest.train_graph);
    const rewritten = deployGraph(graph, detectBlocks(train, { epsOf: batchNormEps(graph) }));
    expect(rewritten.nodes.map(({ op }) => op)).toEqual(manifest.deploy_graph.nodes.map(({ op }: Manifest) => op));
    expect(evaluate(rewritten, deploy, input).data).toEqual(given.data);
  });
});

describe.each(fixtureCases('checkpoints').filter(isCheckpoint))('graph of checkpoints/%s', (name) => {
  const manifest = readManifest('checkpoints', name);
  const tensors = readFixtureTensors(fixturePath('checkpoints', manifest.files.tensors));
  const input = f32(tensors, 'input');
  const file = fixturePath('checkpoints', manifest.files.checkpoint);
  const { key_path: keyPath } = manifest.config;
  const { train_output_rel_peak_f32: trainTolerance, deploy_output_rel_peak_f32: deployTolerance } = manifest.tolerance;

  test('training form', async () => {
    const graph = parseGraph(manifest.train_graph);
    for (const { key_path, logits } of [{ key_path: keyPath, logits: 'logits' }, manifest.also ?? []].flat()) {
      const { tensors: weights } = await readCheckpoint(file, { keyPath: key_path });
      expect(inferShapes(graph, input.shape, weights).get(graph.output)).toEqual(tensors.get(logits)!.shape);
      const got = evaluate(graph, weights, input);
      expect(peakError(got.data as Float32Array, golden(tensors, logits))).toBeLessThanOrEqual(trainTolerance);
    }
  });

  test('deploy form, as given and as rewritten from the training form', async () => {
    const { tensors: train } = await readCheckpoint(file, { keyPath });
    const deploy = fixtureStateDict(deployFile(manifest));
    const given = evaluate(parseGraph(manifest.deploy_graph), deploy, input);
    expect(peakError(given.data as Float32Array, golden(tensors, 'logits'))).toBeLessThanOrEqual(deployTolerance);
    const graph = parseGraph(manifest.train_graph);
    const rewritten = deployGraph(graph, detectBlocks(train, { epsOf: batchNormEps(graph) }));
    expect(evaluate(rewritten, deploy, input).data).toEqual(given.data);
    expect(rewritten.nodes.map(({ op }) => op)).toEqual(manifest.deploy_graph.nodes.map(({ op }: Manifest) => op));
  });
});

describe.each(fixtureCases('trained'))('graph of trained/%s', (name) => {
  const manifest = readManifest('trained', name);
  const golden = readFixtureTensors(fixturePath('trained', manifest.files.tensors));
  const test500 = readFixtureTensors(fixturePath('trained', manifest.files.test));
  const { data, shape } = test500.get('images')!;
  const images = Tensor.f32(shape, Float32Array.from(data as Uint8Array));
  const labels = test500.get('labels')!.data as Uint8Array;
  const model = { inputShape: [1, 8, 8], normalization: { scale: 1 / 16 } };

  test.each(['train', 'deploy'])('the %s form classifies the 500 test images as the golden file does', async (form) => {
    const graph = parseGraph({ ...manifest[`${form}_graph`], ...model });
    const file = form === 'train' ? manifest.files.checkpoint : manifest.files.deploy_safetensors;
    const { tensors } = await readCheckpoint(fixturePath('trained', file));
    const logits = (await evaluateAsync(graph, tensors, normalizeInput(graph, images))).data as Float32Array;
    const tolerance = manifest.tolerance[`${form}_output_rel_peak_f32`];
    expect(peakError(logits, golden.get('logits_all')!.data as Float32Array)).toBeLessThanOrEqual(tolerance);
    const first64 = golden.get('logits64')!;
    expect(peakError(logits.subarray(0, first64.data.length), first64.data as Float64Array)).toBeLessThanOrEqual(
      tolerance,
    );
    const predictions = Array.from({ length: 500 }, (_, i) => {
      const row = [...logits.subarray(i * 10, i * 10 + 10)];
      return row.indexOf(Math.max(...row));
    });
    expect(predictions).toEqual([...(golden.get('predictions')!.data as Uint8Array)]);
    expect(predictions.filter((digit, i) => digit === labels[i]).length).toBe(manifest.result.test_correct);
  });
});

function isCheckpoint(name: string): boolean {
  const { op } = readManifest('checkpoints', name);
  return op === 'checkpoint';
}

/** The golden deploy file of a case: its own, or that of the case that holds the same network. */
function deployFile({ config, files }: Manifest): string {
  const twins = fixtureCases('checkpoints').map((name) => readManifest('checkpoints', name));
  const twin = twins.find((other) => other.config.net === config.net && other.files.deploy_safetensors);
  return fixturePath('checkpoints', files.deploy_safetensors ?? twin?.files.deploy_safetensors);
}
