import { create, toBinary } from '@bufbuild/protobuf';
import { encodeModel } from '../../lib/onnx/encode';
import { parseOnnx, readOnnx } from '../../lib/onnx/model';
import { ModelSchema, type Tensor } from '../../lib/onnx/schema/onnx_pb';

const weight = (name: string, length: number) => ({
  name,
  dims: [BigInt(length / 4)],
  dataType: 1,
  rawData: Uint8Array.from({ length }, (_, i) => i * 7 + length),
});

function model(initializer: object[]) {
  return create(ModelSchema, {
    irVersion: 8n,
    producerName: 'a test',
    opsetImport: [{ domain: '', version: 17n }],
    metadataProps: [{ key: 'k', value: 'v' }],
    graph: {
      name: 'g',
      node: [{ name: 'n', opType: 'Identity', input: ['x'], output: ['y'] }],
      initializer: initializer as Tensor[],
      input: [{ name: 'x' }],
      output: [{ name: 'y' }],
    },
  });
}

// Lengths whose own length takes one byte more, in the tensor, and so in the graph.
test.each([[[]], [[4]], [[4096]], [[4096, 4, 16384, 127 * 4]], [[1 << 21, 4096, (1 << 21) - 16]]])(
  'weights of %p bytes: in parts as in one',
  (lengths: number[]) => {
    const proto = model(lengths.map((length, i) => weight(`w${i}`, length)));
    const parts = encodeModel(proto as Parameters<typeof encodeModel>[0]);
    expect(Buffer.concat(parts).equals(toBinary(ModelSchema, proto))).toBe(true);
    // Large ones are not copied.
    for (const { rawData } of proto.graph!.initializer)
      expect(parts.some((part) => part === rawData)).toBe(rawData.length >= 4096);
  },
);

test('what is not known of a model, graph or tensor stays', () => {
  const unknown = (no: number) => [{ no, wireType: 2, data: Uint8Array.of(3, 1, 2, 3) }];
  const proto = model([{ ...weight('w', 8192), $unknown: unknown(21) }]);
  proto.$unknown = unknown(25);
  proto.graph!.$unknown = unknown(14);
  proto.graph!.initializer[0]!.$unknown = unknown(21);
  const bytes = Buffer.concat(encodeModel(proto as Parameters<typeof encodeModel>[0]));
  expect(bytes.equals(toBinary(ModelSchema, proto))).toBe(true);
  const read = parseOnnx(bytes).proto;
  expect(read.$unknown).toMatchObject(unknown(25));
  expect(read.graph.$unknown).toMatchObject(unknown(14));
  expect(read.graph.initializer[0]).toMatchObject({ $unknown: unknown(21), rawData: weight('w', 8192).rawData });
});

test('large weights of a file lie where arrays of their type can, whatever stands before them', async () => {
  const seen = new Set<number>();
  for (let extra = 0; extra < 8; extra++) {
    const double = { ...weight('d', 1 << 15), dataType: 11, dims: [BigInt(1 << 12)] };
    const proto = model([weight('w'.repeat(extra + 1), 1 << 16), weight('v', 1 << 14), double]);
    const bytes = toBinary(ModelSchema, proto);
    for (const { rawData } of parseOnnx(bytes).proto.graph.initializer) seen.add(rawData.byteOffset % 4);
    const { initializer } = (await readOnnx(bytes)).proto.graph;
    for (const [i, { rawData }] of initializer.entries()) {
      expect(Buffer.compare(rawData, proto.graph!.initializer[i]!.rawData)).toBe(0);
      if (i < 2) expect(rawData.byteOffset % 4).toBe(0);
    }
  }
  expect(seen.size).toBe(4); // at all places
});

test('the bytes of a caller are left as they are', async () => {
  const bytes = toBinary(ModelSchema, model([weight('w', 1 << 16), weight('vv', 1 << 16), weight('uuu', 1 << 16)]));
  const before = bytes.slice();
  await readOnnx(bytes);
  expect(Buffer.compare(bytes, before)).toBe(0);
});
