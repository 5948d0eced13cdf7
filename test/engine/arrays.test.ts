import { createContext, runInContext } from 'node:vm';
import { Engine } from '../../lib/engine';
import { Tensor } from '../../lib/tensor/tensor';
import { refusal } from '../support/refusal';
import { image, smallNet } from './small-net';

const floats = ({ data }: Tensor) => data as Float32Array;

describe('arrays', () => {
  const model = smallNet();
  const input = image(1, 9, 9);

  test('out takes the result; runSync may write over its own input', async () => {
    using engine = await Engine.create(model);
    const want = engine.runSync(input);
    const out = Tensor.f32(want.shape);
    expect(await engine.run(input, { out })).toBe(out);
    expect(out).toEqual(want);
    const memory = new Float32Array(600);
    memory.set(floats(input));
    const own = {
      x: Tensor.f32(input.shape, memory.subarray(0, 243)),
      y: Tensor.f32(want.shape, memory.subarray(0, want.size)),
    };
    expect(engine.runSync(own.x, { out: own.y }).data).toEqual(want.data);
  });

  test('an input that is changed or detached right after run() does not change the result', async () => {
    using engine = await Engine.create(model);
    const want = engine.runSync(input);
    const own = Tensor.f32(input.shape, floats(input).slice());
    const running = engine.run(own);
    floats(own).fill(7);
    structuredClone(own.data, { transfer: [own.data.buffer as ArrayBuffer] });
    expect(await running).toEqual(want);
    expect(await refusal(engine.run(own))).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining('detached'),
    });
  });

  test('an out that is detached during the run is told, and does no harm', async () => {
    using engine = await Engine.create(model);
    const out = Tensor.f32(engine.outputShape(input.shape));
    const running = engine.run(input, { out });
    structuredClone(out.data, { transfer: [out.data.buffer as ArrayBuffer] });
    expect(await refusal(running)).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' });
  });

  test('shared, unaligned, resizable arrays, and those of another realm', async () => {
    using engine = await Engine.create(model);
    const want = engine.runSync(input);
    const shared = new Float32Array(new SharedArrayBuffer(243 * 4));
    const unaligned = new Float32Array(new ArrayBuffer(244 * 4), 4);
    // biome-ignore lint/suspicious/noExplicitAny: resizable buffers are newer than the library's language level
    const resizable = new Float32Array(new (ArrayBuffer as any)(243 * 4, { maxByteLength: 4096 }));
    const foreign = runInContext('new Float32Array(243)', createContext()) as Float32Array;
    for (const data of [shared, unaligned, resizable, foreign]) {
      data.set(floats(input));
      const tensor = new Tensor('F32', input.shape, data);
      expect(await engine.run(tensor)).toEqual(want);
      expect(engine.runSync(tensor)).toEqual(want);
    }
  });

  test('half types are widened; F16 as bit patterns or as a Float16Array, where Node has one (N07)', async () => {
    using engine = await Engine.create(model);
    const half = new Uint16Array(243).fill(0x3c00);
    const bytes = new Uint8Array(half.buffer);
    // biome-ignore lint/suspicious/noExplicitAny: newer than the library's language level
    const Float16 = (globalThis as any).Float16Array ?? Float16StandIn;
    const want = engine.runSync(Tensor.f32([1, 3, 9, 9], new Float32Array(243).fill(1)));
    for (const input of [
      new Tensor('F16', [1, 3, 9, 9], half),
      new Tensor('F16', [1, 3, 9, 9], new Float16(bytes.buffer)),
      new Tensor('BF16', [1, 3, 9, 9], new Uint16Array(243).fill(0x3f80)),
    ]) {
      expect(engine.runSync(input)).toEqual(want);
      expect(await engine.run(input)).toEqual(want);
    }
  });

  test.each([
    ['no tensor', undefined, 'ERR_REPFUSE_INVALID_ARGUMENT', 'float32'],
    ['float64', new Tensor('F64', [1, 3, 4, 4], new Float64Array(48)), 'ERR_REPFUSE_INVALID_ARGUMENT', 'F64'],
    ['no batch', Tensor.f32([0, 3, 4, 4]), 'ERR_REPFUSE_SHAPE', 'positive'],
    ['three axes', Tensor.f32([3, 4, 4]), 'ERR_REPFUSE_SHAPE', '[N, C, H, W]'],
    ['other channels', Tensor.f32([1, 4, 4, 4]), 'ERR_REPFUSE_GRAPH', 'Node a'],
  ])('%s is refused', async (_, wrong, code, message) => {
    using engine = await Engine.create(model);
    const expected = { code, message: expect.stringContaining(message) };
    expect(await refusal(engine.run(wrong as Tensor))).toMatchObject(expected);
    expect(() => engine.runSync(wrong as Tensor)).toThrow(expect.objectContaining(expected));
  });

  test('an out of another shape or type is refused', async () => {
    using engine = await Engine.create(model);
    for (const out of [Tensor.f32([1]), new Tensor('F64', [1, 20, 5, 5], new Float64Array(500))])
      expect(await refusal(engine.run(input, { out }))).toMatchObject({ code: 'ERR_REPFUSE_SHAPE' });
  });
});

/** What Node without Float16Array can have of it. */
class Float16StandIn extends Uint16Array {
  override get [Symbol.toStringTag](): 'Uint16Array' {
    return 'Float16Array' as 'Uint16Array';
  }
}
