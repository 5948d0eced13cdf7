import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { convert, foldOnnx, inspect, verify } from '../../lib/convert';
import { Engine, readModel } from '../../lib/engine';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const file = fixturePath('trained', 'digits-repvgg.pth');

/** The same input in every way that a caller may give it. */
function sourcesOf(path: string) {
  const bytes = readFileSync(path);
  const surrounded = new Uint8Array(bytes.length + 8);
  surrounded.set(bytes, 5);
  return {
    path,
    url: pathToFileURL(path),
    buffer: bytes,
    'Uint8Array inside a larger buffer': surrounded.subarray(5, 5 + bytes.length),
    ArrayBuffer: Uint8Array.from(bytes).buffer,
  };
}

const inspected = inspect(file);
const read = readCheckpoint(file);

test.each(Object.entries(sourcesOf(file)))('a checkpoint by its %s', async (_, source) => {
  const { tensors } = await readCheckpoint(source);
  expect(tensors).toEqual((await read).tensors);
  const { file: __, ...report } = await inspect(source);
  expect(await inspected).toMatchObject(report);
});

test('convert and verify take bytes and URLs, and write to a URL', async () => {
  const bytes = readFileSync(file);
  const before = Buffer.from(bytes);
  const byPath = await convert(file, folder.path('by-path.safetensors'));
  const report = await convert(bytes, pathToFileURL(folder.path('by bytes.safetensors')), { verify: true });
  expect(report).toMatchObject({ file: '(bytes)', output: folder.path('by bytes.safetensors'), sha256: byPath.sha256 });
  expect(report.verification?.equal).toBe(true);
  expect(bytes.equals(before)).toBe(true);
  const [a, b] = [
    await readCheckpoint(folder.path('by-path.safetensors')),
    await readCheckpoint(folder.path('by bytes.safetensors')),
  ];
  expect(b.tensors).toEqual(a.tensors);
  const verified = await verify(pathToFileURL(file), readFileSync(folder.path('by-path.safetensors')));
  expect(verified.equal).toBe(true);
});

test('models and ONNX by their bytes', async () => {
  const onnx = fixturePath('checkpoints', 'repvgg-onnx-train.onnx');
  const byPath = await readModel(onnx);
  const byBytes = await readModel(readFileSync(onnx));
  expect(byBytes).toEqual(byPath);
  const report = await foldOnnx(readFileSync(onnx), pathToFileURL(folder.path('folded.onnx')), { verify: true });
  expect(report).toMatchObject({ input: '(bytes)', output: folder.path('folded.onnx'), verification: { equal: true } });
  const { graph, tensors } = netFromSeed('mobileone_s0', { form: 'deploy', classes: 3 });
  await writeSafetensors(folder.path('net.safetensors'), tensors);
  const model = await readModel(readFileSync(folder.path('net.safetensors')), { graph });
  using engine = await Engine.create(model);
  expect((await engine.run(Tensor.f32([1, 3, 224, 224]))).shape).toEqual([1, 3]);
});

test('what lies in several files needs a path', async () => {
  const index = Buffer.from(JSON.stringify({ weight_map: { w: 'part.safetensors' } }));
  expect(await refusal(readCheckpoint(index))).toMatchObject({
    code: 'ERR_REPFUSE_FILE',
    message: expect.stringContaining('"part.safetensors"'),
  });
});

test('bytes that are taken away while they are read', async () => {
  const bytes = Uint8Array.from(readFileSync(file));
  const onProgress = () => {
    if (bytes.length > 0) structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  };
  expect((await refusal(readCheckpoint(bytes, { onProgress }))).code).toBe('ERR_REPFUSE_FILE');
  expect((await refusal(readCheckpoint(bytes))).code).toBe('ERR_REPFUSE_FORMAT');
});

test.each([
  undefined,
  null,
  '',
  'a\0b',
  3,
  {},
  [],
  ['a.pth'],
  new URL('https://example.org/a.pth'),
  new URL('file://elsewhere/a.pth'),
  Float32Array.of(1),
  new DataView(new ArrayBuffer(4)),
  Symbol('file'),
  new Date(0),
])('%p is no source', async (source) => {
  const errors = [
    await refusal(readCheckpoint(source as never)),
    await refusal(inspect(source as never)),
    await refusal(convert(source as never, folder.path('out'))),
    await refusal(convert(file, source as never)),
    await refusal(verify(file, source as never)),
    await refusal(readModel(source as never)),
    await refusal(foldOnnx(source as never, folder.path('out'))),
    await refusal(writeSafetensors(source as never, new Map())),
  ];
  expect(errors.map(({ code }) => code)).toEqual(errors.map(() => 'ERR_REPFUSE_INVALID_ARGUMENT'));
  for (const { message } of errors)
    expect(message).toMatch(/^Expected a path(,| or) a? ?file: URL.* for \w+ but received /);
});
