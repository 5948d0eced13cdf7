import { detectBlocks, detectKnownBlocks, FAMILY_RULES } from '../../lib/families';
import type { DetectOptions } from '../../lib/families/detect-options';
import * as sites from '../../lib/families/sites';
import { Tensor } from '../../lib/tensor/tensor';
import { roughBlock } from '../support/rough-block';

afterEach(() => jest.restoreAllMocks());

const block = (prefix: string, channels: number, seed: number) => new Map(roughBlock(prefix, channels, seed));

/** The blocks, and whether they had to be searched for. */
function look(tensors: Map<string, Tensor>, options: DetectOptions = {}) {
  const search = jest.spyOn(sites, 'findSites');
  const blocks = detectKnownBlocks(tensors, options);
  const searched = search.mock.calls.length > 0;
  search.mockRestore();
  expect(blocks).toEqual(detectBlocks(tensors, options));
  return { blocks, searched };
}

test('a layout is searched once, and its blocks are made of the tensors of each file', () => {
  const [first, second] = [block('a.', 4, 1), block('a.', 4, 2)];
  expect(look(first).searched).toBe(true);
  const { blocks, searched } = look(second);
  expect(searched).toBe(false);
  const [stage] = blocks[0]!.branches[0]!.stages;
  expect(stage).toMatchObject({ kind: 'conv2d' });
  expect((stage as { weight: Tensor }).weight).toBe(second.get(blocks[0]!.anchorKey));
});

test.each<[string, (tensors: Map<string, Tensor>) => DetectOptions | undefined]>([
  ['a name', (tensors) => void tensors.set('more', Tensor.f32([1]))],
  ['a shape', (tensors) => void tensors.set('a.rbr_dense.conv.weight', Tensor.f32([4, 4, 5, 5]))],
  ['a type', (tensors) => void tensors.set('a.rbr_1x1.bn.bias', new Tensor('F64', [4], new Float64Array(4)))],
  ['eps', () => ({ eps: 1e-3 })],
  ['a family', () => ({ families: ['conv-bn'] })],
  ['keyless branches', () => ({ keyless: { '*': [] } })],
  ['rules', () => ({ rules: [...FAMILY_RULES] })],
  ['the order of keys', () => ({ keysInOrder: true })],
  ['a tensor that is not read', () => ({ unread: new Map([['a.rbr_1x1.conv.bias', 'a tensor of type F4']]) })],
  ['a configuration', () => ({ texts: new Map([['meta.cfg', "norm_cfg=dict(type='BN', eps=0.002)"]]) })],
  ['the network', () => ({ texts: new Map([['meta.mmyolo_version', '0.6.0']]) })],
])('%s makes another layout', (_, change) => {
  look(block('a.', 4, 1));
  const other = block('a.', 4, 1);
  const options = change(other);
  expect(look(other, options).searched).toBe(true);
  expect(look(block('a.', 4, 3)).searched).toBe(false);
});

test('texts that tell nothing of the network make no other layout', () => {
  look(block('t.', 4, 1), { texts: new Map([['epoch', '1']]) });
  expect(look(block('t.', 4, 2), { texts: new Map([['epoch', '2']]) }).searched).toBe(false);
});

test('where a graph or modules are asked nothing is remembered', () => {
  const epsOf = (batchNorm: string) => (batchNorm === '' ? undefined : { value: 1e-4, source: 'graph' });
  for (const _ of [1, 2]) expect(look(block('g.', 4, 1), { epsOf }).searched).toBe(true);
  for (const _ of [1, 2]) expect(look(block('g.', 4, 1), { moduleAt: () => undefined }).searched).toBe(true);
});

test('the layouts used last are remembered', () => {
  look(block('first.', 4, 1));
  for (let i = 0; i < 7; i++) look(block(`other${i}.`, 4, 1));
  expect(look(block('first.', 4, 1)).searched).toBe(false);
  for (let i = 0; i < 8; i++) look(block(`new${i}.`, 4, 1));
  expect(look(block('first.', 4, 1)).searched).toBe(true);
});
