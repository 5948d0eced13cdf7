import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { create, toBinary } from '@bufbuild/protobuf';
import { foldOnnx } from '../../lib/convert';
import { foldGraph, parseOnnx, readOnnx, writeOnnx } from '../../lib/onnx';
import { EntrySchema, ModelSchema, Tensor_Location, TensorSchema } from '../../lib/onnx/schema/onnx_pb';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const { path, write } = temporaryFolder();
const acnet = readFileSync(fixturePath('checkpoints', 'acnet-onnx-train.onnx'));

test('damaged files end in a coded error or a model, never in anything else', async () => {
  const random = new Random(9);
  let refused = 0;
  for (let round = 0; round < 400; round++) {
    const bytes = Uint8Array.from(acnet);
    for (const value of random.floats(1 + (round % 4)))
      bytes[Math.floor(Math.abs(value) * 1e6) % bytes.length] = round % 256;
    const cut = round % 3 === 0 ? bytes.subarray(0, (round * 977) % bytes.length) : bytes;
    try {
      await foldGraph(parseOnnx(cut));
    } catch (error) {
      expect((error as Error).name).toBe('RepfuseError');
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(50);
});

test('what is no ONNX model, or of other operators, is named', async () => {
  const empty = create(ModelSchema, { irVersion: 8n });
  expect(() => parseOnnx(toBinary(ModelSchema, empty), 'empty.onnx')).toThrow(/graph.*empty\.onnx/);
  const old = model([], {}, { inputs: {}, outputs: [], opset: 6 });
  expect(() => parseOnnx(toBinary(ModelSchema, old.proto), 'old.onnx')).toThrow(
    /version 7 to 28 for old\.onnx but received 6/,
  );
  expect(await refusal(readOnnx(path('missing.onnx')))).toMatchObject({ code: 'ERR_REPFUSE_FILE' });
});

/** A field of a message, and bytes over and over. */
const field = (number: number, bytes: Uint8Array) => {
  const sizes = [];
  for (let rest = bytes.length; ; rest >>>= 7) {
    sizes.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest < 128) break;
  }
  return Buffer.concat([Buffer.of(number * 8 + 2, ...sizes), bytes]);
};
const repeated = (count: number, ...bytes: readonly number[]) => Buffer.alloc(count * bytes.length, Buffer.from(bytes));

test.each([
  ['nodes', repeated(2e6, 0x0a, 0)],
  [
    'nodes behind a group that the format does not have',
    Buffer.concat([Buffer.of(0x7b, 0x7c), repeated(2e6, 0x0a, 0)]),
  ],
  ['fields that are not known', repeated(2e6, 0x78, 0)],
  ['initializers', repeated(2e6, 0x2a, 0)],
  ['integers', field(5, field(7, repeated(2e7, 1)))],
  ['dims', field(5, field(1, repeated(2e7, 1)))],
  ['names of inputs', field(1, repeated(1e7, 0x0a, 0))],
  ['attributes of one node', field(1, repeated(2e6, 0x2a, 0))],
])('a small file of millions of %s is refused before they are read', (_, graph) => {
  const bytes = Buffer.concat([Buffer.of(0x08, 8), field(8, Buffer.of(0x10, 17)), field(7, graph)]);
  const before = process.memoryUsage().rss;
  expect(() => parseOnnx(bytes, 'bomb.onnx')).toThrow(/at most some \d+ nodes.*bomb\.onnx/);
  expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
});

test('graphs in graphs beyond any depth are refused', () => {
  let graph: Uint8Array = new Uint8Array();
  for (let i = 0; i < 60; i++) graph = field(1, field(5, field(6, graph)));
  const bytes = Buffer.concat([Buffer.of(0x08, 8), field(7, graph)]);
  expect(() => parseOnnx(bytes, 'deep.onnx')).toThrow(/deep\.onnx but its protobuf is damaged/);
});

test('an initializer twice, and more axes than any tensor has, are named', async () => {
  const one = Tensor.f32([1, 1, 1, 1], [1]);
  const { proto } = model(
    [node('Conv', ['x', 'w'], ['y'])],
    { w: one },
    { inputs: { x: [1, 1, 2, 2] }, outputs: ['y'] },
  );
  const [first] = proto.graph.initializer;
  proto.graph.initializer.push(first!);
  expect(() => parseOnnx(toBinary(ModelSchema, proto))).toThrow(/more of "w"/);
  proto.graph.initializer.pop();
  first!.dims = Array<bigint>(100_000).fill(1n);
  expect(await refusal(foldGraph({ proto, opset: 17 }))).toMatchObject({
    code: 'ERR_REPFUSE_FORMAT',
    details: { tensor: 'w' },
  });
});

test('what small files describe is not made: kernels, channels and sums beyond the budget stay as they are', async () => {
  const c3 = [1, 2, 3].map((value) => Tensor.f32([3], [value, value, value]));
  const bn = { s: c3[0]!, b: c3[1]!, m: c3[2]!, v: c3[0]! };
  const pool = { kernel_shape: [20000, 20000], pads: [19999, 19999, 0, 0], count_include_pad: 1 };
  const kernels = [
    node('AveragePool', ['x'], ['a'], pool),
    node('BatchNormalization', ['a', 's', 'b', 'm', 'v'], ['y']),
  ];
  const channels = [node('Mul', ['x', 'c'], ['a']), node('Add', ['a', 'c'], ['y'])];
  for (const [nodes, tensors, size] of [
    [kernels, bn, 3],
    [channels, { c: Tensor.f32([], [2]) }, 2 ** 31 - 1],
  ] as const) {
    const given = model(nodes, tensors, { inputs: { x: [1, size, 8, 8] }, outputs: ['y'] });
    const { model: folded, report } = await foldGraph(given);
    expect(folded).toBe(given);
    expect(report.kept.length).toBeGreaterThan(0);
  }
});

test('a chain of a thousand convolutions with biases is several', async () => {
  const tensors = { w: Tensor.f32([1, 1, 1, 1], [1]), b: Tensor.f32([1], [1]) };
  const nodes = Array.from({ length: 1000 }, (_, i) => node('Conv', [`v${i}`, 'w', 'b'], [`v${i + 1}`]));
  const { report } = await foldGraph(model(nodes, tensors, { inputs: { v0: [1, 1, 4, 4] }, outputs: ['v1000'] }));
  expect(report.convolutions.after).toBeLessThan(10);
});

test('a tensor whose data are not of its dims is named', async () => {
  const { proto } = parseOnnx(acnet);
  const tensor = proto.graph.initializer.find(({ name }) => name.includes('weight'))!;
  tensor.rawData = tensor.rawData.subarray(4);
  expect(await refusal(foldGraph({ proto, opset: 13 }))).toMatchObject({
    code: 'ERR_REPFUSE_FORMAT',
    details: { tensor: tensor.name },
  });
});

test('nodes that read what is not made yet, in a circle or twice, are named', () => {
  const circle = [node('Identity', ['b'], ['a']), node('Identity', ['a'], ['b'])];
  const twice = [node('Relu', ['x'], ['a']), node('Relu', ['x'], ['a'])];
  for (const nodes of [circle, twice]) {
    const { proto } = model(nodes, {}, { inputs: { x: [1, 1, 2, 2] }, outputs: ['a'] });
    expect(() => parseOnnx(toBinary(ModelSchema, proto), 'bad.onnx')).toThrow(/bad\.onnx but (Identity|Relu)/);
  }
});

test.each(['Identity', 'Mul', 'Add'])('a chain of 20,000 %s nodes overflows no stack', async (opType) => {
  const w = Tensor.f32([1, 1, 1, 1], [1]);
  const nodes = Array.from({ length: 20000 }, (_, i) =>
    node(opType, [`v${i}`, ...(opType === 'Identity' ? [] : [opType === 'Mul' ? 'w' : 'v0'])], [`v${i + 1}`]),
  );
  nodes.push(node('Conv', ['v20000', 'w'], ['y']), node('Conv', ['v0', 'v20000'], ['z']));
  const given = model(nodes, { w }, { inputs: { v0: [1, 1, 4, 4] }, outputs: ['y', 'z'] });
  const { report } = await foldGraph(given);
  expect(report.nodes.after).toBeLessThanOrEqual(report.nodes.before);
});

describe('external data', () => {
  const weights = new Float32Array(16 * 9).map((_, i) => i / 7);

  /** Conv and BatchNormalization, whose kernel lies in another file. */
  function external(entries: Readonly<Record<string, string>>): string {
    const channels = { s: 1, b: 0, m: 0, v: 1 };
    const vectors = Object.fromEntries(
      Object.entries(channels).map(([name, value]) => [name, Tensor.f32([4], new Float32Array(4).fill(value))]),
    );
    const given = model(
      [
        node('Conv', ['x', 'w'], ['a'], { pads: [1, 1, 1, 1] }),
        node('BatchNormalization', ['a', 's', 'b', 'm', 'v'], ['y']),
      ],
      { w: Tensor.f32([4, 4, 3, 3], weights), ...vectors },
      { inputs: { x: [1, 4, 8, 8] }, outputs: ['y'] },
    );
    const tensor = given.proto.graph.initializer[0]!;
    tensor.rawData = new Uint8Array();
    tensor.dataLocation = Tensor_Location.EXTERNAL;
    tensor.externalData = Object.entries(entries).map(([key, value]) => create(EntrySchema, { key, value }));
    return write('external.onnx', toBinary(ModelSchema, given.proto));
  }
  const readOnnxOf = (entries: Readonly<Record<string, string>>) => readOnnx(external(entries));
  const bytes = Buffer.from(weights.buffer);
  beforeAll(() => {
    mkdirSync(path('data'));
    writeFileSync(path('data/w.bin'), Buffer.concat([Buffer.alloc(8), bytes]));
    symlinkSync('/etc/hostname', path('data/link.bin'));
  });

  test('of the folder is read, folded, and written into the one file', async () => {
    const file = external({ location: 'data/w.bin', offset: '8', length: String(bytes.length) });
    const { folded } = await foldOnnx(file, path('folded.onnx'), { force: true });
    expect(folded).toHaveLength(1);
    const { proto } = await readOnnx(path('folded.onnx'));
    expect(proto.graph.initializer.every(({ dataLocation }) => dataLocation === Tensor_Location.DEFAULT)).toBe(true);
  });

  const bad: [string, Record<string, string>, string][] = [
    ['a way out of the folder', { location: '../w.bin' }, 'location'],
    ['a way out by the back', { location: 'data/../../w.bin' }, 'location'],
    ['an absolute path', { location: '/etc/hostname' }, 'location'],
    ['a link to the outside', { location: 'data/link.bin' }, 'location'],
    ['no location', { offset: '0' }, 'location'],
    ['an offset beyond the end', { location: 'data/w.bin', offset: '99999' }, 'offset'],
    ['a negative offset', { location: 'data/w.bin', offset: '-8' }, 'offset'],
    ['more bytes than there are', { location: 'data/w.bin', length: '99999999999' }, 'length'],
    ['other bytes than its dims ask for', { location: 'data/w.bin', length: '100' }, 'length'],
    ['a length that is no number', { location: 'data/w.bin', length: '0x10' }, 'length'],
  ];
  test.each(bad)('%s is refused, naming tensor and field', async (_, entries, field) => {
    expect(await refusal(readOnnx(external(entries)))).toMatchObject({
      code: 'ERR_REPFUSE_FORMAT',
      details: { tensor: 'w', field },
    });
  });

  test('a named pipe, a folder and a device are no files, and opening them does not wait', async () => {
    execFileSync('mkfifo', [path('data/pipe')]);
    for (const location of ['data/pipe', 'data']) {
      expect(await refusal(readOnnx(external({ location })))).toMatchObject({
        code: 'ERR_REPFUSE_FILE',
        message: expect.stringContaining('regular file'),
        details: { tensor: 'w' },
      });
    }
  });

  test('what many tensors refer to is read once; ranges that overlap otherwise are refused', async () => {
    const { proto } = await readOnnxOf({ location: 'data/w.bin', offset: '8' });
    const first = proto.graph.initializer[0]!;
    const entry = (key: string, value: string) => create(EntrySchema, { key, value });
    const refer = (name: string, offset: number, dims: bigint[]) =>
      create(TensorSchema, {
        name,
        dims,
        dataType: 1,
        dataLocation: Tensor_Location.EXTERNAL,
        externalData: [entry('location', 'data/w.bin'), entry('offset', `${offset}`)],
      });
    proto.graph.initializer.push(...Array.from({ length: 500 }, (_, i) => refer(`t${i}`, 8, first.dims)));
    Object.assign(first, refer('w', 8, first.dims));
    const file = write('shared.onnx', toBinary(ModelSchema, proto));
    const { graph } = (await readOnnx(file)).proto;
    const buffers = new Set(
      graph.initializer.filter(({ name }) => /^[tw]/.test(name)).map(({ rawData }) => rawData.buffer),
    );
    expect(buffers.size).toBe(1);
    proto.graph.initializer.push(refer('beside', 4, [100n]));
    write('shared.onnx', toBinary(ModelSchema, proto));
    expect(await refusal(readOnnx(file))).toMatchObject({ details: { tensor: 'beside', field: 'length' } });
  });

  test('a file that is missing is named', async () => {
    expect(await refusal(readOnnx(external({ location: 'data/none.bin' })))).toMatchObject({
      code: 'ERR_REPFUSE_FILE',
      message: expect.stringContaining('none.bin'),
    });
  });
});

test('unknown fields, and operators of other domains, are kept', async () => {
  const { proto, opset } = parseOnnx(acnet);
  const unknown = { no: 999, wireType: 2 as const, data: Uint8Array.from([3, 1, 2, 3]) };
  proto.$unknown = [unknown];
  proto.graph.$unknown = [unknown];
  proto.graph.node.at(-1)!.$unknown = [unknown];
  const { model: folded } = await foldGraph({ proto, opset });
  await writeOnnx(path('unknown.onnx'), folded);
  const again = (await readOnnx(path('unknown.onnx'))).proto;
  for (const message of [again, again.graph, again.graph.node.at(-1)!])
    expect(message.$unknown?.map(({ no }) => no)).toEqual([999]);
});

test('nothing is overwritten without force, nor the input by the output', async () => {
  const input = write('in.onnx', acnet);
  const output = write('out.onnx', Uint8Array.of(1));
  expect(await refusal(foldOnnx(input, output))).toMatchObject({ code: 'ERR_REPFUSE_EXISTS' });
  expect(readFileSync(output)).toEqual(Buffer.of(1));
  expect(await refusal(foldOnnx(input, input, { force: true }))).toMatchObject({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
  });
});
