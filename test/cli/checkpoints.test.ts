import { existsSync } from 'node:fs';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { toFloat32 } from '../../lib/tensor/half';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, type Manifest, readFixtureTensors, readManifest } from '../support/fixtures';
import { workplace } from './command';

const { path, repfuse } = workplace();

const manifests = (group: 'checkpoints' | 'checkpoints/bad') =>
  fixtureCases(group)
    .map((name) => readManifest(group, name))
    .filter(({ op, case: name }) => op !== 'onnx' && !/^onnx-/.test(name));

/** eps of every BatchNorm, where the file's network has another than its family. */
function epsFlags({ bn_eps: eps }: Manifest): string[] {
  const values = new Set(typeof eps === 'object' ? Object.values(eps) : [eps]);
  const [value] = [...values];
  return values.size === 1 && typeof value === 'number' && value !== 1e-5 ? ['--eps', String(value)] : [];
}

describe('every checkpoint of the fixtures, as a user converts it', () => {
  const cases = manifests('checkpoints');

  test('there are 30', () => expect(cases.length).toBe(30));

  test.each(cases.map((manifest) => [manifest.case as string, manifest]))('checkpoints/%s', async (_, manifest) => {
    const input = fixturePath('checkpoints', manifest.files.checkpoint);
    // Averaged weights would be taken by default.
    const keyPath = manifest.also === undefined ? [] : ['--key-path', manifest.config.key_path.join('.')];
    const flags = [...keyPath, ...epsFlags(manifest)];
    const { status, stdout } = repfuse('convert', input, '-o', 'out', '--verify', '--json', ...flags);
    expect(status).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.verification.equal).toBe(true);
    const { tensors } = await readCheckpoint(path('out'));
    expect(report.blocks.map(({ prefix, status: end }: Manifest) => `${prefix} ${end}`).sort()).toEqual(
      manifest.blocks.map(({ prefix }: Manifest) => `${prefix} converted`).sort(),
    );
    for (const { weight_key, bias_key } of manifest.blocks) {
      expect([...tensors.keys()]).toEqual(expect.arrayContaining([weight_key, bias_key]));
    }
    const golden = manifest.files.deploy_safetensors;
    if (golden === undefined) return;
    for (const [key, { data }] of readFixtureTensors(fixturePath('checkpoints', golden))) {
      const error = peakError(toFloat32(tensors.get(key)!), data as Float32Array);
      expect([key, error <= manifest.tolerance.fused_weight_rel]).toEqual([key, true]);
    }
  });
});

describe('every bad file of the fixtures: refused in words, nothing run, nothing written', () => {
  const cases = manifests('checkpoints/bad');
  test.each(cases.map((manifest) => [manifest.case as string, manifest]))('checkpoints/bad/%s', (_, manifest) => {
    const input = fixturePath('checkpoints/bad', manifest.files.checkpoint);
    const { status, stdout, stderr } = repfuse('convert', input, '-o', 'out');
    const told = (stdout + stderr).replaceAll(input, '').toLowerCase();
    expect(told).not.toContain('repfuse-canary\n');
    if (status === 0) {
      expect(manifest.expect).toMatch(/load|warn|report|choose/);
      return;
    }
    expect(status).toBe(1);
    expect(existsSync(path('out'))).toBe(false);
    expect(stderr).toMatch(/^ERR_REPFUSE_[A-Z_]+: /m);
    expect(stderr).not.toMatch(/^ +at /m); // a stack is no message
    expect(manifest.expect).not.toBe('load');
    const mentions = (manifest.error_mentions_any ?? []) as string[];
    if (mentions.length > 0) expect(mentions.some((word) => told.includes(word.toLowerCase()))).toBe(true);
    for (const name of manifest.error_names_all ?? []) expect(told).toContain(name.toLowerCase());
  });
});
