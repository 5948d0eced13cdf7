import { convert, parseRules, readCheckpoint, writeSafetensors } from '../../lib';
import { FAMILY_RULES } from '../../lib/families';
import { toFloat64 } from '../../lib/tensor/half';
import { peakError } from '../support/compare';
import { referenceConv2d } from '../support/reference-conv';
import { type Activation, ReferenceNet } from '../support/reference-net';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();

const JOINED = {
  family: 'joined',
  source: 'this test',
  anchor: 'part0.weight',
  branches: [
    {
      name: 'part{i}',
      role: 'main',
      presence: 'repeated',
      chains: [[{ conv: 'part{i}', geometry: 'aligned' }]],
    },
  ],
  combine: 'concat',
  after: [{ batchNorm: 'bn' }],
  deploy: { weight: 'conv.weight', bias: 'conv.bias' },
  deployIsEvident: false,
  eps: 1e-3,
};

test('our own rules are of that form', () => {
  expect(parseRules(JSON.parse(JSON.stringify(FAMILY_RULES)))).toEqual(FAMILY_RULES);
});

test('convolutions of different sizes joined along channels, then a BatchNorm: one convolution', async () => {
  const net = new ReferenceNet(7, 1e-3);
  const x = net.input(3);
  const parts = [3, 1, 3].map((k, i) =>
    net.conv(x, `part${i}.weight`, [2 + i, 3, k, k], { pad: k >> 1, bias: i === 1 }),
  );
  const expected = net.batchNorm(concatenated(parts), 'bn');
  const file = folder.path('joined');
  await writeSafetensors(file, new Map([...net.tensors].map(([key, tensor]) => [`neck.${key}`, tensor])));
  const report = await convert(file, `${file}.out.safetensors`, { rules: parseRules(JOINED), verify: true });
  expect(report.blocks).toMatchObject([{ family: 'joined', kernel: [9, 3, 3, 3], status: 'converted' }]);
  expect(report.verification).toMatchObject({ equal: true });
  const { tensors } = await readCheckpoint(`${file}.out.safetensors`);
  expect([...tensors.keys()].sort()).toEqual(['neck.conv.bias', 'neck.conv.weight']);
  const weight = tensors.get('neck.conv.weight')!;
  const got = referenceConv2d({
    input: x.data,
    inputShape: x.shape,
    weight: toFloat64(weight),
    weightShape: weight.shape,
    bias: toFloat64(tensors.get('neck.conv.bias')!),
    stride: [1, 1],
    padding: [1, 1, 1, 1],
    dilation: [1, 1],
    groups: 1,
  });
  expect(peakError(got.data, expected.data)).toBeLessThan(1e-6);
});

function concatenated(parts: readonly Activation[]): Activation {
  const [batch, , ...size] = parts[0]!.shape as [number, number, number, number];
  const channels = parts.reduce((count, { shape }) => count + shape[1]!, 0);
  const images = Array.from({ length: batch }, (_, n) =>
    parts.flatMap(({ data }) => [...data.subarray((n * data.length) / batch, ((n + 1) * data.length) / batch)]),
  );
  return { shape: [batch, channels, ...size], data: Float64Array.from(images.flat()) };
}

test.each<[string, unknown, string, RegExp]>([
  ['no rule at all', 7, '', /Expected Object/],
  ['a missing field', { ...JOINED, anchor: undefined }, 'anchor', /Expected string/],
  ['a misspelt field', { ...JOINED, combin: 'concat' }, 'combin', /Expected never/],
  ['a family with a space', { ...JOINED, family: 'my net' }, 'family', /lower-case/],
  ['an eps below 0', { ...JOINED, eps: -1 }, 'eps', />=0/],
  ['a pattern that is none', { ...JOINED, path: '(' }, 'path', /regular expression/],
  ['a stage of no kind', withStage({ convolution: 'x' }), 'branches.0.chains.0.0.conv', /Expected/],
  ['a geometry of no kind', withStage({ conv: 'x', geometry: 'same' }), 'branches.0.chains.0.0.geometry', /aligned/],
  ['an anchor that is no weight', { ...JOINED, anchor: 'part0.bias' }, 'anchor', /the weight of a branch/],
  ['a later rule of a list', [JOINED, { ...JOINED, deployIsEvident: 1 }], 'deployIsEvident', /^rules\[1\]/],
])('%s is refused, and the field named', async (_, json, field, text) => {
  const error = await refusal(Promise.resolve(json).then(parseRules));
  expect(error).toMatchObject({ code: 'ERR_REPFUSE_RULE', details: { field } });
  expect(error.message).toMatch(text);
});

function withStage(stage: object) {
  return { ...JOINED, branches: [{ ...JOINED.branches[0], chains: [[stage]] }] };
}
