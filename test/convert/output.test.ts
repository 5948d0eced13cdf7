import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { convert, evaluate, parseGraph, readCheckpoint, readModel, verify } from '../../lib';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import type { ConvertOptions } from '../../lib/convert';
import { decodeBF16, decodeF16 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, readFixtureTensors, readManifest } from '../support/fixtures';
import { refusal } from '../support/refusal';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

const { path, names, write } = workplace();
const ACNET = fixturePath('trained', 'digits-acnet.pth');

const tensorsOf = async (file: string) => (await readCheckpoint(file)).tensors;

describe('format', () => {
  test.each([
    ['out.safetensors', undefined, 'safetensors'],
    ['out.pth', undefined, 'torch-zip'],
    ['OUT.PT', undefined, 'torch-zip'],
    ['out.npz', undefined, 'npz'],
    ['out', undefined, 'safetensors'],
    ['epoch_12.5', undefined, 'safetensors'],
    ['out.pth', 'safetensors', 'safetensors'],
    ['out.bin', 'torch', 'torch-zip'],
  ] as const)('%s with format %s is %s, with the same tensors', async (name, format, read) => {
    await convert(ACNET, path('expected'));
    await convert(ACNET, path(name), { format, verify: true });
    const got = await readCheckpoint(path(name));
    expect(got.format).toBe(read);
    const expected = await tensorsOf(path('expected'));
    expect(new Map([...got.tensors].sort())).toEqual(new Map([...expected].sort()));
  });

  test.each(['out.pth', 'out.npz', 'out.safetensors'])('converting %s again changes no byte (R04)', async (name) => {
    await convert(ACNET, path(name));
    const report = await convert(path(name), path(`again.${name}`));
    expect(report.blocks.every(({ status }) => status === 'already-deployed')).toBe(true);
    expect(readFileSync(path(`again.${name}`)).equals(readFileSync(path(name)))).toBe(true);
  });

  test('a model file with its graph is safetensors: another format is refused before any work', async () => {
    const graph = readManifest('trained', 'digits-acnet').train_graph;
    const error = await refusal(convert(ACNET, path('out.pth'), { graph }));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', message: expect.stringContaining('out.pth') });
  });

  test('of a file without blocks the output is a copy of the weights, and a note says so', async () => {
    const input = await write('in', new Map([['w', Tensor.f32([2], [1, 2])]]));
    const { output, notes } = await convert(input, path('a.pth'), { verify: true });
    expect([output, notes.join()]).toEqual([path('a.pth'), expect.stringContaining('the output is a copy')]);
    expect((await readCheckpoint(path('a.pth'))).format).toBe('torch-zip');
    expect(await tensorsOf(path('a.pth'))).toEqual(await tensorsOf(input));
  });

  test.each(['out.bin', 'out.ckpt', 'out.txt', 'out.v2', 'out.pth.tar'])('%s tells no format', async (name) => {
    const error = await refusal(convert(ACNET, path(name)));
    expect(error).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringMatching(/ends in \.safetensors, \.pth, \.pt, \.npz, \.onnx .*\(`format` settles it/),
    });
    expect(names()).toEqual([]);
    expect((await convert(ACNET, path(name), { format: 'torch' })).output).toBe(path(name));
  });

  test('a network that has no place in the output is told: refused where it was asked for', async () => {
    const graph = { ...readManifest('trained', 'digits-acnet').train_graph, inputShape: [1, 8, 8] };
    expect(await refusal(convert(ACNET, path('out.onnx')))).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining('Expected `graph` or `arch`'),
    });
    await convert(ACNET, path('model'), { graph });
    expect((await convert(path('model'), path('plain.pth'))).notes.join()).toContain("the network's graph is left out");
    expect((await convert(path('model'), path('out.onnx'))).output).toBe(path('out.onnx'));
    expect(names()).toEqual(['model', 'out.onnx', 'plain.pth']);
  });

  test('a folder is a place: the name is the input’s, with the ending of the format', async () => {
    mkdirSync(path('there'));
    expect((await convert(ACNET, path('there'))).output).toBe(path('there/digits-acnet.safetensors'));
    expect((await convert(ACNET, `${path('new/deep')}/`, { format: 'torch' })).output).toBe(
      path('new/deep/digits-acnet.pth'),
    );
    // Never the input itself, whatever is asked for.
    const own = await convert(ACNET, path('own.safetensors'));
    for (const output of [path('.'), own.output]) {
      const error = await refusal(convert(own.output, output, { force: true }));
      expect(error).toMatchObject({ message: expect.stringContaining('other than the input') });
    }
    expect(await refusal(convert(ACNET, path('there')))).toMatchObject({ code: 'ERR_REPFUSE_EXISTS' });
    // A conversion that fails makes no folder.
    await refusal(convert(fixturePath('checkpoints/bad', 'missing-branch.pth'), `${path('failed')}/`));
    expect(existsSync(path('failed'))).toBe(false);
  });
});

/** All finite values of a half type with their patterns, ascending. */
function values(decode: (bits: number) => number, infinity: number) {
  const patterns = Array.from({ length: infinity }, (_, bits) => bits);
  return [
    ...patterns.map((bits) => ({ bits: bits | 0x8000, value: decode(bits | 0x8000) })).reverse(),
    ...patterns.map((bits) => ({ bits, value: decode(bits) })),
  ];
}

/** The nearest of the values, ties to even: an independent rounding. */
function nearest(sorted: ReturnType<typeof values>, x: number): number {
  let [low, high] = [0, sorted.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle]!.value <= x) low = middle;
    else high = middle;
  }
  const [a, b] = [sorted[low]!, sorted[high]!];
  const [below, above] = [x - a.value, b.value - x];
  if (below !== above) return below < above ? a.value : b.value;
  return a.bits % 2 === 0 ? a.value : b.value;
}

describe('dtype', () => {
  const HALF = { f16: { decode: decodeF16, infinity: 0x7c00 }, bf16: { decode: decodeBF16, infinity: 0x7f80 } };
  const cases = fixtureCases('blocks').filter((name, i) => i % 5 === 0 && !/eps-mixed/.test(name));

  test.each(['f16', 'bf16'] as const)('%s: fused values are the exact sums rounded once', async (dtype) => {
    const { decode, infinity } = HALF[dtype];
    const sorted = values(decode, infinity);
    let compared = 0;
    for (const name of cases) {
      const { files, bn_eps } = readManifest('blocks', name);
      const eps = typeof bn_eps === 'number' ? bn_eps : undefined;
      await convert(fixturePath('blocks', files.train_safetensors), path('out'), { dtype, eps, force: true });
      const got = await tensorsOf(path('out'));
      for (const [key, { data }] of readFixtureTensors(fixturePath('blocks', files.tensors))) {
        const [, tensor] = /^deploy\.(.*\.(?:weight|bias))@f64$/.exec(key) ?? [];
        const fused = tensor === undefined ? undefined : got.get(tensor);
        if (fused === undefined) continue;
        expect([tensor, fused.dtype]).toEqual([tensor, dtype.toUpperCase()]);
        const rounded = Array.from(data as Float64Array, (x) => nearest(sorted, x));
        expect([name, tensor, Array.from(fused.data as Uint16Array, decode)]).toEqual([name, tensor, rounded]);
        compared += data.length;
      }
    }
    expect(compared).toBeGreaterThan(2000);
  });

  test('all floating-point tensors are of the type; counters are not touched; verification knows the type', async () => {
    const input = await write(
      'in',
      roughBlock('a.'),
      new Map([
        ['head.weight', new Tensor('F64', [2], new Float64Array([1 / 3, 2 / 3]))],
        ['half', new Tensor('F16', [1], new Uint16Array([0x3555]))],
        ['steps', new Tensor('I64', [], new BigInt64Array([7n]))],
      ]),
    );
    for (const dtype of ['f32', 'f16', 'bf16'] as const) {
      const { verification } = await convert(input, path(dtype), { dtype, verify: true });
      expect(verification).toMatchObject({ equal: true, otherTensors: [] });
      const got = await tensorsOf(path(dtype));
      expect(new Set([...got].filter(([key]) => key !== 'steps').map(([, tensor]) => tensor.dtype))).toEqual(
        new Set([dtype.toUpperCase()]),
      );
      expect(got.get('steps')!.data).toEqual(new BigInt64Array([7n]));
      // A weight that is off by one unit of float16 is one wrong value, however little.
      const head = got.get('head.weight')!;
      (head.data as Uint16Array)[0]! += 1;
      await writeSafetensors(path('off'), got, { force: true });
      expect((await verify(input, path('off'))).otherTensors.map(({ key }) => key)).toEqual(['head.weight']);
    }
  });

  test('keep: fused tensors have the type of their main convolution', async () => {
    const half = (tensors: StateDict): StateDict =>
      new Map(
        [...tensors].map(([key, tensor]) => [
          key,
          tensor.dtype === 'F32' ? new Tensor('F16', tensor.shape, new Uint16Array(tensor.size).fill(0x3800)) : tensor,
        ]),
      );
    const input = await write('in', half(roughBlock('a.')), roughBlock('b.'));
    await convert(input, path('default'));
    await convert(input, path('keep'), { dtype: 'keep', verify: true });
    const types = async (file: string) =>
      [...(await tensorsOf(path(file)))].map(([key, { dtype }]) => `${key}: ${dtype}`).sort();
    expect(await types('default')).toEqual([
      'a.rbr_reparam.bias: F32',
      'a.rbr_reparam.weight: F32',
      'b.rbr_reparam.bias: F32',
      'b.rbr_reparam.weight: F32',
    ]);
    expect(await types('keep')).toEqual([
      'a.rbr_reparam.bias: F16',
      'a.rbr_reparam.weight: F16',
      'b.rbr_reparam.bias: F32',
      'b.rbr_reparam.weight: F32',
    ]);
  });

  test('a value beyond the range refuses the file before anything is written, and names it', async () => {
    const large = roughBlock('a.');
    (large.get('a.rbr_1x1.bn.bias')!.data as Float32Array)[3] = 1e5;
    const input = await write('in', large);
    expect(await refusal(convert(input, path('out'), { dtype: 'f16' }))).toMatchObject({
      code: 'ERR_REPFUSE_RANGE',
      message: expect.stringMatching(/at most 65504 for a\.rbr_reparam\.bias in F16.*bf16 or f32/),
      details: { tensor: 'a.rbr_reparam.bias', index: 3 },
    });
    expect(names()).toEqual(['in']);
    expect((await convert(input, path('out'), { dtype: 'bf16' })).output).toBe(path('out'));
    const other = await write(
      'other',
      roughBlock('a.'),
      new Map([['x', new Tensor('F64', [2], new Float64Array([0, 1e39]))]]),
    );
    expect(await refusal(convert(other, path('f32'), { dtype: 'f32' }))).toMatchObject({
      details: { tensor: 'x', index: 1, value: 1e39 },
    });
  });

  test('values that become 0 are counted', async () => {
    const input = await write('in', roughBlock('a.'), new Map([['x', Tensor.f32([3], [1e-9, 0, -1e-9])]]));
    const { notes } = await convert(input, path('out'), { dtype: 'f16' });
    expect(notes.join()).toContain('2 values other than 0 became 0');
  });
});

test('G18: the deploy file alone, whose graph says that there are biases, computes what training did', async () => {
  const manifest = readManifest('trained', 'digits-acnet');
  await convert(ACNET, path('alone'), { graph: { ...manifest.train_graph, inputShape: [1, 8, 8] } });
  const { graph, tensors } = await readModel(path('alone'));
  const convolutions = graph.nodes.filter((node) => node.op === 'conv2d');
  for (const { bias } of convolutions) expect(tensors.has(bias!)).toBe(true);
  const train = await readCheckpoint(ACNET);
  const input = Tensor.f32(
    [2, 1, 8, 8],
    Float32Array.from({ length: 128 }, (_, i) => Math.sin(i)),
  );
  const want = evaluate(parseGraph(manifest.train_graph), train.tensors, input);
  const got = evaluate(graph, tensors, input);
  expect(peakError(got.data as Float32Array, want.data as Float32Array)).toBeLessThan(1e-6);
});

describe('keys', () => {
  test('plain: a convolution in the place of the block, in the tensors and in the graph', async () => {
    const graph = { ...readManifest('trained', 'digits-acnet').train_graph, inputShape: [1, 8, 8] };
    const { verification } = await convert(ACNET, path('out'), { keys: 'plain', graph, verify: true });
    expect(verification).toMatchObject({ equal: true, network: { equal: true } });
    const { tensors, metadata } = await readCheckpoint(path('out'));
    expect([...tensors.keys()].filter((key) => key.startsWith('stem'))).toEqual(
      [1, 2, 3, 4].flatMap((i) => [`stem.conv${i}.acb.weight`, `stem.conv${i}.acb.bias`]),
    );
    expect(metadata.repfuse).toContain('"stem.conv1.acb.weight"');
    // There is nothing left to convert, and nothing is.
    expect(await convert(path('out'), path('again'), {})).toMatchObject({ blocks: [] });
  });

  test('a deployed file is renamed', async () => {
    await convert(ACNET, path('native'));
    await convert(path('native'), path('plain'), { keys: 'plain' });
    await convert(ACNET, path('expected'), { keys: 'plain' });
    expect(await tensorsOf(path('plain'))).toEqual(await tensorsOf(path('expected')));
    expect(await verify(ACNET, path('plain'))).toMatchObject({ equal: true });
  });

  test('a name that is taken is refused', async () => {
    const input = await write('in', roughBlock('a.'), new Map([['a.weight', Tensor.f32([1])]]));
    const error = await refusal(convert(input, path('out'), { keys: 'plain' }));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', details: { tensor: 'a.weight' } });
    expect(existsSync(path('out'))).toBe(false);
  });
});

test.each<[ConvertOptions, string]>([
  [{ dtype: 'f64' as 'f32' }, 'f32 or f16 or bf16 or keep for dtype'],
  [{ format: 'gguf' as 'npz' }, 'safetensors or torch or npz or onnx for format'],
  [{ keys: 'timm' as 'plain' }, 'native or plain for keys'],
])('%j is refused with what there is', async (options, choices) => {
  const error = await refusal(convert(ACNET, path('out'), options));
  expect(error).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', message: expect.stringContaining(choices) });
});
