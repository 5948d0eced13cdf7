import { detectBlocks } from '../../lib/families';
import { deployGraph, evaluate, evaluateAsync, inferShapes, normalizeInput, parseGraph } from '../../lib/graph';
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
    const rewritten = deployGraph(parseGraph(manifest.train_graph), detectBlocks(train));
    expect(rewritten.nodes.map(({ op }) => op)).toEqual(manifest.deploy_graph.nodes.map(({ op }: Manifest) => op));
    expect(evaluate(rewritten, deploy, input).data).toEqual(given.data);
  });
});

describe.each(fixtureCases('trained'))('trained/%s', (name) => {
  const manifest = readManifest('trained', name);
  const tensors = readFixtureTensors(fixturePath('trained', manifest.files.tensors));
  const images = readFixtureTensors(fixturePath('trained', manifest.files.test));
  const deploy = fixtureStateDict(fixturePath('trained', manifest.files.deploy_safetensors));

  test('the deploy form classifies the 500 test images as the golden file does', () => {
    const graph = parseGraph({ ...manifest.deploy_graph, inputShape: [1, 8, 8], normalization: { scale: 1 / 16 } });
    const raw = images.get('images')!;
    const input = normalizeInput(graph, Tensor.f32(raw.shape, Float32Array.from(raw.data as Uint8Array)));
    const logits = evaluate(graph, deploy, input).data as Float32Array;
    expect(peakError(logits, tensors.get('logits_all')!.data as Float32Array)).toBeLessThanOrEqual(
      manifest.tolerance.deploy_output_rel_peak_f32,
    );
    const predictions = Array.from({ length: 500 }, (_, i) => {
      const row = [...logits.subarray(i * 10, i * 10 + 10)];
      return row.indexOf(Math.max(...row));
    });
    expect(predictions).toEqual([...(tensors.get('predictions')!.data as Uint8Array)]);
    const labels = images.get('labels')!.data as Uint8Array;
    expect(predictions.filter((digit, i) => digit === labels[i]).length).toBe(manifest.result.test_correct);
  });
});
