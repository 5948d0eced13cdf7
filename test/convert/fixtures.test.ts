import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { convert, inspect } from '../../lib/convert';
import { evaluate, normalizeInput, parseGraph, readGraphMetadata } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import {
  type FixtureGroup,
  fixtureCases,
  fixturePath,
  type Manifest,
  readFixtureTensors,
  readManifest,
} from '../support/fixtures';
import { worstUlp } from '../support/ulp';

const folder = mkdtempSync(join(tmpdir(), 'repfuse-convert-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Cases whose container this version reads; what it refuses is tested with the reader. */
const readable = (group: FixtureGroup) =>
  fixtureCases(group).filter((name) => {
    const { op } = readManifest(group, name);
    return op !== 'onnx';
  });

const checkpoints = readable('checkpoints').map((name) => ['checkpoints', name] as const);
const trained = fixtureCases('trained').map((name) => ['trained', name] as const);

/** The golden deploy file of a case: its own, or that of the case that holds the same network. */
function deployFile(group: FixtureGroup, manifest: Manifest): string {
  if (manifest.files.deploy_safetensors) return fixturePath(group, manifest.files.deploy_safetensors);
  const twin = fixtureCases(group)
    .map((name) => readManifest(group, name))
    .find(({ config, files }) => config?.net === manifest.config.net && files.deploy_safetensors);
  return fixturePath(group, twin?.files.deploy_safetensors ?? 'repvgg-plain.deploy.safetensors');
}

function logitsOf(
  group: FixtureGroup,
  manifest: Manifest,
  graph: ReturnType<typeof parseGraph>,
  tensors: ReadonlyMap<string, Tensor>,
) {
  const golden = readFixtureTensors(fixturePath(group, manifest.files.tensors));
  if (group === 'checkpoints') {
    const { shape, data } = golden.get('input')!;
    const got = evaluate(graph, tensors, Tensor.f32(shape, data as Float32Array));
    return { got: got.data as Float32Array, want: golden.get('logits@f64')!.data as Float64Array };
  }
  const { shape, data } = readFixtureTensors(fixturePath(group, manifest.files.test)).get('images')!;
  const images = Tensor.f32(shape, Float32Array.from(data as Uint8Array));
  const got = evaluate(graph, tensors, normalizeInput(graph, images)).data as Float32Array;
  return {
    got,
    want: golden.get('logits_all')!.data as Float32Array,
    predictions: golden.get('predictions')!.data as Uint8Array,
  };
}

describe.each([...checkpoints, ...trained])('%s/%s', (group, name) => {
  const manifest = readManifest(group, name);
  const input = fixturePath(group, manifest.files.checkpoint);
  const output = join(folder, `${group}-${name}.safetensors`);
  const normalization = group === 'trained' ? { normalization: { scale: 1 / 16 } } : {};
  const trainGraph = { ...manifest.train_graph, ...normalization };

  test('converts to the golden deploy file, and both forms give the golden logits', async () => {
    // Where a file also holds averaged weights, those would be taken by default.
    const keyPath = manifest.also === undefined ? undefined : manifest.config.key_path;
    const { tensors: train } = await readCheckpoint(input, { keyPath });
    const before = logitsOf(group, manifest, parseGraph(trainGraph), train);
    expect(peakError(before.got, before.want)).toBeLessThanOrEqual(manifest.tolerance.train_output_rel_peak_f32);

    const report = await convert(input, output, { keyPath, graph: trainGraph, verify: true });
    const statuses = Object.fromEntries(report.blocks.map(({ prefix, status }) => [prefix, status]));
    expect(statuses).toEqual(Object.fromEntries(manifest.blocks.map(({ prefix }: Manifest) => [prefix, 'converted'])));
    expect(report.verification).toMatchObject({ equal: true, otherTensors: [] });

    const { tensors, metadata } = await readCheckpoint(output);
    const golden = readFixtureTensors(deployFile(group, manifest));
    expect(new Set(tensors.keys())).toEqual(new Set(golden.keys()));
    const fused = new Set(manifest.blocks.flatMap(({ weight_key, bias_key }: Manifest) => [weight_key, bias_key]));
    for (const [key, { data }] of golden) {
      if (!fused.has(key)) continue;
      const got = tensors.get(key)!.data as Float32Array;
      const want = data as Float32Array;
      expect(peakError(got, want)).toBeLessThanOrEqual(manifest.tolerance.fused_weight_rel);
      expect(worstUlp(got, want, want.map(Math.abs))).toBeLessThanOrEqual(1);
    }
    for (const [key, tensor] of tensors) if (!fused.has(key)) expect(tensor).toEqual(train.get(key));

    const after = logitsOf(group, manifest, readGraphMetadata(metadata)!, tensors);
    expect(peakError(after.got, after.want)).toBeLessThanOrEqual(manifest.tolerance.deploy_output_rel_peak_f32);
    if (after.predictions !== undefined) {
      for (const { got } of [before, after]) {
        const best = [...after.predictions].map((_, i) => {
          const row = [...got.subarray(i * 10, i * 10 + 10)];
          return row.indexOf(Math.max(...row));
        });
        expect(best).toEqual([...after.predictions]);
      }
      expect(report.parameters).toEqual({
        before: manifest.result.parameters_train,
        after: manifest.result.parameters_deploy,
      });
    }
  });

  test('converting the result again changes no byte', async () => {
    const again = join(folder, `${group}-${name}.again.safetensors`);
    const report = await convert(output, again);
    expect(report.blocks.every(({ status }) => status === 'already-deployed' || status === 'converted')).toBe(true);
    expect(readFileSync(again).equals(readFileSync(output))).toBe(true);
  });
});

test('averaged weights are taken by default, and the other set is named', async () => {
  const manifest = readManifest('checkpoints', 'mobileone-ema');
  const input = fixturePath('checkpoints', manifest.files.checkpoint);
  const { key_path: keyPath, logits } = manifest.also;
  const { alternatives, notes } = await inspect(input);
  expect(alternatives).toEqual([manifest.config.key_path]);
  expect(notes.join()).toContain('the averaged weights (EMA) at state_dict_ema were taken');
  const output = join(folder, 'ema.safetensors');
  const report = await convert(input, output, { graph: manifest.train_graph, verify: true });
  expect(report).toMatchObject({ keyPath, verification: { equal: true } });
  const { tensors, metadata } = await readCheckpoint(output);
  const golden = readFixtureTensors(fixturePath('checkpoints', manifest.files.tensors));
  const { shape, data } = golden.get('input')!;
  const got = evaluate(readGraphMetadata(metadata)!, tensors, Tensor.f32(shape, data as Float32Array));
  expect(peakError(got.data as Float32Array, golden.get(`${logits}@f64`)!.data as Float64Array)).toBeLessThanOrEqual(
    manifest.tolerance.deploy_output_rel_peak_f32,
  );
});

test('eps comes from the graph, or from the option, and says so', async () => {
  const manifest = readManifest('checkpoints', 'repvgg-groups');
  const input = fixturePath('checkpoints', manifest.files.checkpoint);
  const golden = readFixtureTensors(fixturePath('checkpoints', manifest.files.deploy_safetensors));
  const { weight_key: key } = manifest.blocks[0];
  const fuse = async (options: object) => {
    const report = await convert(input, join(folder, 'eps'), { ...options, force: true });
    const { tensors } = await readCheckpoint(join(folder, 'eps'));
    const equal = peakError(tensors.get(key)!.data as Float32Array, golden.get(key)!.data as Float32Array) < 1e-6;
    return [report.blocks[0]!.eps.source, equal];
  };
  expect(await fuse({ graph: manifest.train_graph })).toEqual(['graph', true]);
  expect(await fuse({ eps: 1e-3 })).toEqual(['option', true]);
  expect(await fuse({})).toEqual(['default of repvgg', false]);
  // Two that disagree cannot both be right.
  await expect(fuse({ graph: manifest.train_graph, eps: 1e-5 })).rejects.toMatchObject({ code: 'ERR_REPFUSE_GRAPH' });
});

test('a deploy file of torch is copied as safetensors, and copied again to the same bytes', async () => {
  const [once, twice] = [join(folder, 'once.safetensors'), join(folder, 'twice.safetensors')];
  const report = await convert(fixturePath('checkpoints', 'repvgg-plain.deploy.pth'), once);
  expect(report.blocks.every(({ status }) => status === 'already-deployed')).toBe(true);
  await convert(once, twice);
  expect(readFileSync(twice).equals(readFileSync(once))).toBe(true);
});

describe('checkpoints/bad, what conversion must notice', () => {
  const cases = fixtureCases('checkpoints/bad').filter((name) => {
    const { stage, files } = readManifest('checkpoints/bad', name);
    return stage === 'convert' && !String(files.checkpoint).endsWith('.onnx');
  });

  test.each(cases)('checkpoints/bad/%s', async (name) => {
    const manifest = readManifest('checkpoints/bad', name);
    const input = fixturePath('checkpoints/bad', manifest.files.checkpoint);
    const output = join(folder, `${name}.safetensors`);
    const outcome = await convert(input, output).then(
      (report) => report.notes.join('\n'),
      (error) => {
        expect(error.code).toBe('ERR_REPFUSE_BLOCK');
        return error.message.replaceAll(input, '');
      },
    );
    expect(existsSync(output)).toBe(name === 'no-blocks'); // then a copy, and a note
    for (const part of manifest.error_names_all ?? []) expect(outcome).toContain(part);
    expect(manifest.error_mentions_any.some((word: string) => outcome.toLowerCase().includes(word.toLowerCase()))).toBe(
      true,
    );
    // Inspecting such a file is no error: it says what it would say.
    expect((await inspect(input)).file).toBe(input);
  });
});
