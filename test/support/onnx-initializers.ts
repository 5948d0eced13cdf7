import { readFileSync } from 'node:fs';

/** Fields of a protobuf message: the number of each, and its bytes or its value. */
function* fields(bytes: Buffer): Generator<[number, Buffer | number]> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, wire] = [tag >>> 3, tag & 7];
    if (wire === 0) yield [field, varint()];
    else {
      const length = wire === 2 ? varint() : wire === 1 ? 8 : 4;
      at += length;
      yield [field, bytes.subarray(at - length, at)];
    }
  }
}

/** The float32 initializers of an ONNX file by name, with raw data. On purpose not the product's reader. */
export function readOnnxInitializers(file: string): Map<string, { shape: number[]; data: Float32Array }> {
  const found = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [field, graph] of fields(readFileSync(file))) {
    if (field !== 7) continue;
    for (const [part, tensor] of fields(graph as Buffer)) {
      if (part !== 5) continue;
      const all = [...fields(tensor as Buffer)];
      const one = (number: number) => all.find(([n]) => n === number)?.[1];
      const raw = one(9);
      if (one(2) !== 1 || !Buffer.isBuffer(raw)) continue;
      const shape = all.flatMap(([n, value]) => (n !== 1 ? [] : Buffer.isBuffer(value) ? [...packed(value)] : [value]));
      const data = new Float32Array(new Uint8Array(raw).buffer);
      found.set(String(one(8)), { shape, data });
    }
  }
  return found;
}

/** Packed varints below 2^31. */
function* packed(bytes: Buffer): Generator<number> {
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 127) * scale;
    scale *= 128;
    if (byte >= 128) continue;
    yield value;
    [value, scale] = [0, 1];
  }
}
