import { detectBlocks, FAMILY_RULES, parseRules } from '../../lib/families';
import { patternOf } from '../../lib/families/patterns';
import { Tensor } from '../../lib/tensor/tensor';
import { cpuTimeOf } from '../support/cpu-time';
import { refusalOf } from '../support/refusal';

const REPVGG = FAMILY_RULES.find(({ family }) => family === 'repvgg')!;
const rule = (change: object) => JSON.parse(JSON.stringify({ ...REPVGG, ...change }));
const weight = Tensor.f32([2, 2, 3, 3]);

test('patterns of users take time linear in the names', async () => {
  const name = `${'a'.repeat(100_000)}!.`;
  const tensors = new Map([[`${name}rbr_dense.conv.weight`, weight]]);
  const slow = { pattern: '^(a+)+$', eps: 1, because: 'of its path' };
  for (const change of [
    { path: '^(a+)+$' },
    { path: '(a|aa)*b$' },
    { epsEvidence: [slow] },
    { doubt: { because: 'it is', unlessPath: '(.*.*.*.*)*x$' } },
  ]) {
    expect(await cpuTimeOf(() => detectBlocks(tensors, { rules: parseRules(rule(change)) }))).toBeLessThan(5000);
  }
});

test('patterns mean the same on both engines', () => {
  const names = [
    'model.3.',
    'a.model.3.',
    'ERBlock_2.0.',
    'neck.Rep_p4.block.',
    'x.Rep_n3.',
    '',
    'pan_blocks.0.bottlenecks.1.',
  ];
  const patterns = FAMILY_RULES.flatMap(({ path, doubt, epsEvidence = [] }) => [
    path ?? '',
    doubt?.unlessPath ?? '',
    ...epsEvidence.map(({ pattern }) => pattern),
  ]);
  for (const pattern of new Set(patterns))
    for (const name of names)
      expect(patternOf(`${pattern}|^$`).test(name)).toBe(new RegExp(`${pattern}|^$`).test(name));
});

test.each([
  ['path', { path: '(?=a)' }],
  ['path', { path: '(a)\\1' }],
  ['path', { path: '(' }],
  ['path', { path: 'a'.repeat(1001) }],
  ['path', { path: '(a{1000}){1000}' }],
  ['epsEvidence.0.pattern', { epsEvidence: [{ pattern: '(?<!a)b', eps: 1, because: 'x' }] }],
  ['doubt.unlessPath', { doubt: { because: 'x', unlessPath: '(?!a)' } }],
])('a pattern that RE2 does not take is refused: %s', (field, change) => {
  const error = refusalOf(() => parseRules(rule(change), 'own.json'));
  expect(error).toMatchObject({ code: 'ERR_REPFUSE_RULE', details: { field } });
  expect(error.message).toMatch(/own\.json/);
});

test.each(['conv.{k}{d}.weight', 'conv.{k}1.weight', 'conv.{k}.{k}.weight'])('the key %s is refused', (key) => {
  const branches = [{ ...REPVGG.branches[0], chains: [[{ conv: { weight: key }, geometry: 'aligned' }]] }];
  expect(refusalOf(() => parseRules(rule({ branches }))).code).toBe('ERR_REPFUSE_RULE');
});

test('a * in answers about keyless branches takes one pass', async () => {
  const tensors = new Map([[`${'ab'.repeat(50_000)}.rbr_dense.conv.weight`, weight]]);
  const keyless = { [`${'*a'.repeat(50)}*c`]: [] };
  expect(await cpuTimeOf(() => detectBlocks(tensors, { keyless }))).toBeLessThan(2000);
});
