import { join } from 'node:path';
import { workplace } from './command';

const { repfuse } = workplace();
const MODEL = 'test/fixtures/inputs/im_shape.onnx';
const INPUTS = ['image', 'im_shape', 'scale_factor'];

test('bench of several inputs: of seeded tensors, or those of a file, by their names', () => {
  const seeded = repfuse('bench', MODEL, '--runs', '1', '--precision', 'f32', '--json');
  expect(Object.keys(JSON.parse(seeded.stdout).input)).toEqual(INPUTS);
  const given = ['--input', 'test/fixtures/inputs/im_shape.inputs.npz'];
  const { status, stdout } = repfuse('bench', MODEL, '--runs', '1', '--precision', 'all', ...given);
  expect(status).toBe(0);
  for (const name of INPUTS) expect(stdout).toContain(`${name} [`);
});

test.each([
  ['--batch', '3'],
  ['--size', '32x32'],
])('bench of several inputs has no %s', (...flag) => {
  const { status, stderr } = repfuse('bench', MODEL, ...flag);
  expect(status).toBe(1);
  expect(stderr).toBe(
    `ERR_REPFUSE_INVALID_ARGUMENT: Expected no ${flag[0]} for a model whose inputs are other than images: give them with --input\n`,
  );
});

const OPEN = join('test', 'fixtures', 'networks', 'efficientnet_same.dynamo.open.onnx');

test('bench of a model whose sizes are open: --input-shape says them', () => {
  const { status, stdout } = repfuse('bench', OPEN, '--runs', '1', '--json', '--input-shape', '1x3x97x64');
  expect([status, JSON.parse(stdout).input]).toEqual([0, [1, 3, 97, 64]]);
});

test.each([
  ['y:1x3x97x64', /inputs "x" for --input-shape but received one of "y"/],
  ['1x3xA', /expected sizes such as 1x3x224x224/],
  ['1x0x5x5', /expected sizes such as 1x3x224x224/],
  ['1x4x97x64', /4|channels/],
])('bench has no --input-shape %s', (shape, message) => {
  const { status, stderr } = repfuse('bench', OPEN, '--runs', '1', '--input-shape', shape);
  expect(status).not.toBe(0);
  expect(stderr).toMatch(message);
});

test('--memory least makes an engine of less memory, and says nothing of precisions', () => {
  const network = ['test/fixtures/trained/digits-acnet.pth', '--graph', 'examples/digits-acnet.graph.json'];
  const weights = (...flags: string[]) => {
    const run = [...network, '--batch', '16', '--runs', '1', '--json', ...flags]; // Winograd pays for as many
    const { memory } = JSON.parse(repfuse('bench', ...run).stdout);
    return memory.sourceWeights + memory.packedWeights;
  };
  expect(weights('--memory', 'least')).toBeLessThan(weights());
  const { status, stderr } = repfuse('bench', MODEL, '--precision', 'all', '--memory', 'least');
  expect(status).toBe(1);
  expect(stderr).toContain('Expected no --memory beside --precision all');
});
