import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { Engine, type EngineOptions, PRECISIONS } from '../../lib/engine';
import { type Model, normalizeInput, parseGraph } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, type Manifest, readFixtureTensors, readManifest } from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';
import { fixtureStateDict } from '../support/tensors';

const ALGORITHMS = ['auto', 'direct', 'winograd2', 'winograd4x2', 'winograd4', 'products', 'float64'] as const;

/** The engine's output, which is the same for any number of threads and from run to run. */
async function runModel(model: Model, input: Tensor, options: EngineOptions = {}): Promise<Float32Array> {
  using one = await Engine.create(model, { ...options, threads: 1 });
  using three = await Engine.create(model, { ...options, threads: 3 });
  const got = await one.run(input);
  expect(got.shape).toEqual(one.outputShape(input.shape));
  for (const again of [one.runSync(input), await three.run(input)]) expect(again.data).toEqual(got.data);
  return got.data as Float32Array;
}

function f32(tensors: ReturnType<typeof readFixtureTensors>, name: string): Tensor {
  const { shape, data } = tensors.get(name)!;
  return Tensor.f32(shape, data as Float32Array);
}

const golden = (tensors: ReturnType<typeof readFixtureTensors>, name: string) =>
  (tensors.get(`${name}@f64`) ?? tensors.get(name))!.data as Float64Array;

describe.each(fixtureCases('blocks'))('engine on blocks/%s', (name) => {
  const manifest = readManifest('blocks', name);
  const tensors = readFixtureTensors(fixturePath('blocks', manifest.files.tensors));
  const input = f32(tensors, 'input');
  const want = golden(tensors, 'output');

  test.each(['train', 'deploy'])('%s form', async (form) => {
    const weights = fixtureStateDict(fixturePath('blocks', manifest.files[`${form}_safetensors`]));
    const model = { graph: parseGraph(manifest[`${form}_graph`]), tensors: weights };
    for (const algorithm of ALGORITHMS) {
      const got = await runModel(model, input, { algorithm });
      expect(peakError(got, want)).toBeLessThanOrEqual(manifest.tolerance[`${form}_output_rel_peak_f32`]);
    }
  });

  test('the training form becomes one convolution, unless its graph keeps branches apart', async () => {
    const train = fixtureStateDict(fixturePath('blocks', manifest.files.train_safetensors));
    using engine = await Engine.create({ graph: parseGraph(manifest.train_graph), tensors: train });
    const convolutions = engine.explain(input.shape).filter(({ macs }) => macs > 0);
    const deploy = manifest.deploy_graph.nodes.filter(({ op }: { op: string }) => op === 'conv2d' || op === 'linear');
    const gates = manifest.deploy_graph.nodes.filter(({ op }: { op: string }) => op === 'squeeze_excite');
    expect(convolutions).toHaveLength(deploy.length + 2 * gates.length);
  });
});

describe.each(fixtureCases('checkpoints').filter(isCheckpoint))('engine on checkpoints/%s', (name) => {
  const manifest = readManifest('checkpoints', name);
  const tensors = readFixtureTensors(fixturePath('checkpoints', manifest.files.tensors));

  test('training form', async () => {
    const file = fixturePath('checkpoints', manifest.files.checkpoint);
    const { tensors: weights } = await readCheckpoint(file, { keyPath: manifest.config.key_path });
    const model = { graph: parseGraph(manifest.train_graph), tensors: weights };
    const got = await runModel(model, f32(tensors, 'input'));
    expect(peakError(got, golden(tensors, 'logits'))).toBeLessThanOrEqual(manifest.tolerance.train_output_rel_peak_f32);
  });
});

describe.each(fixtureCases('trained'))('engine on trained/%s', (name) => {
  const manifest = readManifest('trained', name);
  const test500 = readFixtureTensors(fixturePath('trained', manifest.files.test));
  const { data, shape } = test500.get('images')!;
  const images = Tensor.f32(shape, Float32Array.from(data as Uint8Array));
  const expected = readFixtureTensors(fixturePath('trained', manifest.files.tensors));

  test.each(['train', 'deploy'])('the %s form: every prediction by every algorithm', async (form) => {
    const graph = parseGraph({
      ...manifest[`${form}_graph`],
      inputShape: [1, 8, 8],
      normalization: { scale: 1 / 16 },
    });
    const file = form === 'train' ? manifest.files.checkpoint : manifest.files.deploy_safetensors;
    const { tensors } = await readCheckpoint(fixturePath('trained', file));
    for (const algorithm of ALGORITHMS) {
      const logits = await runModel({ graph, tensors }, normalizeInput(graph, images), { algorithm });
      const want = expected.get('logits_all')!.data as Float32Array;
      expect(peakError(logits, want)).toBeLessThanOrEqual(manifest.tolerance[`${form}_output_rel_peak_f32`]);
      expect(predictionsOf(logits)).toEqual([...(expected.get('predictions')!.data as Uint8Array)]);
    }
  });

  test('f32 and fast predict as in the fixtures on every level, bf16 nearly', async () => {
    const graph = parseGraph({
      ...manifest.deploy_graph,
      inputShape: [1, 8, 8],
      normalization: { scale: 1 / 16 },
    });
    const { tensors } = await readCheckpoint(fixturePath('trained', manifest.files.deploy_safetensors));
    const want = [...(expected.get('predictions')!.data as Uint8Array)];
    const labels = [...(test500.get('labels')!.data as Iterable<number>)];
    for (const isa of availableIsas()) {
      for (const precision of PRECISIONS) {
        for (const algorithm of ['auto', 'products'] as const) {
          const logits = await withIsa(isa, () =>
            runModel({ graph, tensors }, normalizeInput(graph, images), { precision, algorithm }),
          );
          const got = predictionsOf(logits);
          if (precision !== 'bf16') {
            expect(got).toEqual(want);
            continue;
          }
          const right = got.filter((guess, i) => guess === labels[i]).length;
          process.stdout.write(`${name} in bf16 (${isa}, ${algorithm}): ${right / 5} % of 500 right\n`);
          expect(got.filter((guess, i) => guess !== want[i]).length).toBeLessThanOrEqual(5);
        }
      }
    }
  });
});

function predictionsOf(logits: Float32Array): number[] {
  return Array.from({ length: logits.length / 10 }, (_, i) => {
    const row = [...logits.subarray(i * 10, i * 10 + 10)];
    return row.indexOf(Math.max(...row));
  });
}

function isCheckpoint(name: string): boolean {
  const { op } = readManifest('checkpoints', name) as Manifest;
  return op === 'checkpoint';
}
