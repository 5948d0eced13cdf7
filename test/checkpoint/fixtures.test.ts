import { basename } from 'node:path';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { Checkpoint } from '../../lib/checkpoint/state-dict';
import type { RepfuseError } from '../../lib/errors';
import { decodeF16 } from '../../lib/tensor/half';
import type { Tensor } from '../../lib/tensor/tensor';
import {
  type FixtureTensor,
  fixtureCases,
  fixturePath,
  type Manifest,
  readFixtureTensors,
  readManifest,
} from '../support/fixtures';

function read(group: 'checkpoints' | 'blocks' | 'trained' | 'checkpoints/bad', file: string): Promise<Checkpoint> {
  return readCheckpoint(fixturePath(group, file));
}

async function refusal(work: Promise<unknown>): Promise<RepfuseError> {
  const error = await work.then(
    () => undefined,
    (thrown) => thrown as RepfuseError,
  );
  expect(error?.name).toBe('RepfuseError');
  return error!;
}

function expectSame(got: Tensor | undefined, want: FixtureTensor, name: string): void {
  expect({ name, dtype: got?.dtype, shape: got?.shape }).toEqual({ name, dtype: want.dtype, shape: want.shape });
  const bytes = (data: ArrayBufferView) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  expect(bytes(got!.data).equals(bytes(want.data))).toBe(true);
}

/** Every tensor name that a graph reads. */
function graphKeys({ nodes }: { nodes: Record<string, unknown>[] }): string[] {
  return nodes.flatMap((node) => {
    const weights = [node.weight, node.bias].filter((name): name is string => typeof name === 'string');
    const norm = (node.affine ? ['weight', 'bias'] : []).concat('running_mean', 'running_var');
    if (typeof node.prefix === 'string') weights.push(...norm.map((name) => `${node.prefix}.${name}`));
    for (const prefix of [node.reduce, node.expand]) {
      if (typeof prefix === 'string') weights.push(`${prefix}.weight`, `${prefix}.bias`);
    }
    return weights;
  });
}

const manifests = fixtureCases('checkpoints').map((name) => readManifest('checkpoints', name));
const readable = manifests.filter((manifest) => manifest.op === 'checkpoint');

test('there are 30 readable checkpoints', () => {
  expect(readable.length).toBe(30);
});

function formatOf({ case: name, files }: Manifest): string {
  if (/\.safetensors$/.test(files.checkpoint)) return 'safetensors';
  return /legacy/.test(name) ? 'torch-legacy' : 'torch-zip';
}

describe.each(readable.map((manifest) => [manifest.case as string, manifest] as const))('%s', (_, manifest) => {
  const { key_path: keyPath, key_prefix: prefix, weights_dtype: dtype } = manifest.config;

  test('holds every tensor that the training graph reads', async () => {
    const averaged = manifest.also === undefined ? undefined : keyPath; // the averaged weights would be taken by default
    const checkpoint = await readCheckpoint(fixturePath('checkpoints', manifest.files.checkpoint), {
      keyPath: averaged,
    });
    expect(checkpoint.format).toBe(formatOf(manifest));
    expect(checkpoint.keyPath).toEqual(keyPath);
    expect(checkpoint.droppedPrefix).toBe(prefix);
    const wanted = graphKeys(manifest.train_graph);
    expect(wanted.length).toBeGreaterThan(20);
    expect(wanted.filter((name) => checkpoint.tensors.get(name)?.dtype !== dtype)).toEqual([]);
  });

  const sibling = manifests.find(
    (other) => other.files.train_safetensors !== undefined && other.config.net === manifest.config.net,
  );
  if (sibling !== undefined) {
    test(`holds the values of ${sibling.files.train_safetensors}`, async () => {
      const { tensors } = await read('checkpoints', manifest.files.checkpoint);
      const expected = readFixtureTensors(fixturePath('checkpoints', sibling.files.train_safetensors));
      expect([...tensors.keys()].sort()).toEqual([...expected.keys()].sort());
      for (const [name, want] of expected) {
        const got = tensors.get(name)!;
        if (dtype === want.dtype || want.dtype === 'I64') expectSame(got, want, name);
        else expect(Array.from(got.data as Float64Array)).toEqual(Array.from(want.data as Float32Array));
      }
    });
  }
});

test('bfloat16 weights are the same in a torch file and in safetensors', async () => {
  const torch = await read('checkpoints', 'repvgg-bf16.pth');
  const safetensors = readFixtureTensors(fixturePath('checkpoints', 'repvgg-bf16-safetensors.ckpt.safetensors'));
  expect([...torch.tensors.keys()].sort()).toEqual([...safetensors.keys()].sort());
  for (const [name, want] of safetensors) expectSame(torch.tensors.get(name), want, name);
});

test('float16 weights are the bit patterns of float16', async () => {
  const { tensors } = await read('checkpoints', 'repvgg-f16.pth');
  const variance = tensors.get('stage0.rbr_dense.bn.running_var')!;
  expect(variance.dtype).toBe('F16');
  for (const bits of variance.data as Uint16Array) expect(decodeF16(bits)).toBeGreaterThan(0);
});

test('a counter keeps its dtype and its empty shape', async () => {
  const { tensors } = await read('checkpoints', 'repvgg-plain.pth');
  const counter = tensors.get('stage0.rbr_dense.bn.num_batches_tracked')!;
  expect(counter.shape).toEqual([]);
  expect(counter.data).toBeInstanceOf(BigInt64Array);
});

test('averaged weights are taken, the others listed for choice', async () => {
  const averaged = await read('checkpoints', 'mobileone-ema.pth');
  expect([averaged.keyPath, averaged.alternatives]).toEqual([['state_dict_ema'], [['state_dict']]]);
  expect(averaged.skipped.map(({ path }) => path)).toEqual(['epoch', 'arch', 'metric', 'version']);
  const plain = await readCheckpoint(fixturePath('checkpoints', 'mobileone-ema.pth'), { keyPath: ['state_dict'] });
  expect([plain.keyPath, plain.alternatives]).toEqual([['state_dict'], [['state_dict_ema']]]);
  expect([...averaged.tensors.keys()]).toEqual([...plain.tensors.keys()]);
  expect(averaged.tensors.get('linear.weight')!.data).not.toEqual(plain.tensors.get('linear.weight')!.data);
});

test('what a training script saved beside the weights is listed, not executed', async () => {
  const { skipped } = await read('checkpoints', 'repvgg-training.pth');
  const what = new Map(skipped.map((entry) => [entry.path, entry.what]));
  expect([...what.keys()]).toEqual([
    'epoch',
    'arch',
    'best_acc1',
    'max_accuracy',
    'optimizer',
    'lr_scheduler',
    'amp',
    'done',
    'args',
  ]);
  expect(what.get('args')).toBe('argparse.Namespace (not executed)');
  expect(what.get('max_accuracy')).toBe('numpy._core.multiarray.scalar (not executed)');
});

test('tensors that share a storage share an ArrayBuffer', async () => {
  const { tensors } = await read('checkpoints', 'repvgg-strided.pth');
  const weight = tensors.get('stage0.rbr_dense.conv.weight')!;
  expect(weight.data.buffer).toBe(tensors.get('stage0.rbr_dense.bn.weight')!.data.buffer);
  const gamma = tensors.get('stage4.0.rbr_1x1.bn.weight')!; // stride 0: gathered
  expect(new Set(gamma.data as Float32Array).size).toBe(1);
  expect(gamma.data.buffer.byteLength).toBe(gamma.bytes);
});

test('every block of the fixtures reads the same from torch and safetensors', async () => {
  for (const name of fixtureCases('blocks')) {
    const { files } = readManifest('blocks', name);
    const pairs = [
      [files.train_pth, files.train_safetensors],
      [files.deploy_pth, files.deploy_safetensors],
    ];
    for (const [pth, safetensors] of pairs) {
      if (pth === undefined) continue;
      const expected = readFixtureTensors(fixturePath('blocks', safetensors));
      for (const file of [pth, safetensors]) {
        const { tensors } = await read('blocks', file);
        expect([...tensors.keys()].sort()).toEqual([...expected.keys()].sort());
        for (const [key, want] of expected) expectSame(tensors.get(key), want, `${file} ${key}`);
      }
    }
  }
});

test.each(fixtureCases('trained'))('reads the trained network %s', async (name) => {
  const manifest = readManifest('trained', name);
  const { tensors } = await read('trained', manifest.files.checkpoint);
  expect(graphKeys(manifest.train_graph).filter((key) => !tensors.has(key))).toEqual([]);
});

describe('formats that are recognised but not read are named', () => {
  const others = manifests.filter((manifest) => manifest.op === 'onnx');

  test.each(others.map((manifest) => [manifest.case, manifest]))('%s', async (_, manifest) => {
    const error = await refusal(read('checkpoints', manifest.files.onnx));
    expect(error.code).toBe('ERR_REPFUSE_UNSUPPORTED_FORMAT');
    expect(error.message).toMatch(/ONNX/);
    expect(error.message).toContain(basename(manifest.files.onnx));
  });
});

describe('bad files', () => {
  const bad = fixtureCases('checkpoints/bad').map((name) => readManifest('checkpoints/bad', name));
  const isOnnx = (manifest: Manifest) => /^onnx-/.test(manifest.case);
  const path = (manifest: Manifest) => fixturePath('checkpoints/bad', manifest.files.checkpoint);

  async function expectAsManifest(manifest: Manifest): Promise<void> {
    const outcome = await readCheckpoint(path(manifest)).catch((error: RepfuseError) => error);
    if ('tensors' in outcome) {
      expect(manifest.expect).toMatch(/^load/);
      if (manifest.keys) expect([...outcome.tensors.keys()].sort()).toEqual([...manifest.keys].sort());
      for (const [name, values] of Object.entries(manifest.values ?? {})) {
        expect(Array.from(outcome.tensors.get(name)!.data as Float32Array)).toEqual(values);
      }
      return;
    }
    expect(outcome.name).toBe('RepfuseError');
    expect(outcome.details.file).toBe(path(manifest));
    expect(manifest.expect).not.toBe('load');
    const message = outcome.message.replaceAll(path(manifest), '').toLowerCase();
    const mentions = manifest.error_mentions_any.map((text: string) => text.toLowerCase());
    expect(mentions.filter((text: string) => message.includes(text))).not.toEqual([]);
  }

  const atLoad = bad.filter((manifest) => manifest.stage === 'load' && !isOnnx(manifest));
  test.each(atLoad.map((manifest) => [manifest.id, manifest]))('%s', async (_, manifest) => {
    await expectAsManifest(manifest);
  });

  const laterIssue = bad.filter((manifest) => manifest.stage === 'load' && isOnnx(manifest));
  test.each(laterIssue.map((manifest) => [manifest.case, manifest]))('%s', async (_, manifest) => {
    await expectAsManifest(manifest);
  });

  const atConvert = bad.filter((manifest) => manifest.stage === 'convert' && !isOnnx(manifest));
  test.each(atConvert.map((manifest) => [manifest.case, manifest]))('%s reads well', async (_, manifest) => {
    const { tensors } = await readCheckpoint(path(manifest));
    expect(tensors.size).toBeGreaterThan(0);
  });

  test('a name such as __proto__ pollutes nothing', async () => {
    const { tensors } = await read('checkpoints/bad', 'evil-prototype-key.pth');
    expect(tensors.get('__proto__')?.shape).toBeDefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });
});
