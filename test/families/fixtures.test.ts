import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { type DetectedBlock, detectBlocks } from '../../lib/families';
import { fixtureCases, fixturePath, type Manifest, readManifest } from '../support/fixtures';
import { fixtureStateDict } from '../support/tensors';

/** RepVGGplus has RepVGG's keys. */
const familyOf = (type: string) => (type === 'repvggplus' ? 'repvgg' : type);

/** What a manifest says of a block, in our words. */
function expectedBlock({ prefix, type, fused, weight_key, bias_key }: Manifest) {
  return {
    prefix,
    family: familyOf(type),
    form: 'train',
    kernel: fused.kernel,
    outChannels: fused.out_channels,
    inPerGroup: fused.in_channels / fused.groups,
    deployKeys: { weight: weight_key, bias: bias_key },
    problem: undefined,
  };
}

function found(block: DetectedBlock) {
  const { prefix, family, form, kernel, outChannels, inPerGroup, deployKeys, problem } = block;
  return { prefix, family, form, kernel, outChannels, inPerGroup, deployKeys, problem };
}

const byPrefix = <T extends { prefix: string }>(blocks: readonly T[]) =>
  [...blocks].sort((a, b) => (a.prefix < b.prefix ? -1 : 1));

const checkpoints = fixtureCases('checkpoints')
  .map((name) => readManifest('checkpoints', name))
  .filter(({ op }) => op === 'checkpoint');

describe.each(checkpoints.map((manifest) => [manifest.case as string, manifest] as const))('%s', (_, manifest) => {
  test('every block is found, and nothing else', async () => {
    const { tensors } = await readCheckpoint(fixturePath('checkpoints', manifest.files.checkpoint));
    const blocks = detectBlocks(tensors);
    expect(byPrefix(blocks.map(found))).toEqual(byPrefix(manifest.blocks.map(expectedBlock)));
    for (const { prefix, groups, trainKeys } of blocks) {
      // Where no tensor fixes the groups, they do not matter.
      const { fused } = manifest.blocks.find((block: Manifest) => block.prefix === prefix);
      expect([null, fused.groups]).toContain(groups);
      expect(trainKeys.every((key) => key.startsWith(`${prefix}.`) && tensors.has(key))).toBe(true);
    }
    const first = (block: DetectedBlock) => [...tensors.keys()].findIndex((key) => block.trainKeys.includes(key));
    expect(blocks.map(first)).toEqual(blocks.map(first).sort((a, b) => a - b));
  });

  if (manifest.files.deploy_safetensors !== undefined) {
    test('the deploy file holds the same blocks, in deploy form', () => {
      const deployed = detectBlocks(fixtureStateDict(fixturePath('checkpoints', manifest.files.deploy_safetensors)));
      // A plain convolution with bias does not show that it once had a BatchNorm.
      const wanted = manifest.blocks.filter(({ type }: Manifest) => type !== 'conv-bn').map(expectedBlock);
      expect(byPrefix(deployed).map(({ prefix, form, deployKeys }) => ({ prefix, form, deployKeys }))).toEqual(
        byPrefix(wanted as DetectedBlock[]).map(({ prefix, deployKeys }) => ({ prefix, form: 'deploy', deployKeys })),
      );
      for (const { prefix, family } of deployed) {
        const { type } = manifest.blocks.find((block: Manifest) => block.prefix === prefix);
        expect(family.split(' or ')).toContain(type);
      }
    });
  }
});

describe.each(fixtureCases('blocks'))('blocks/%s', (name) => {
  const manifest = readManifest('blocks', name);

  test('is found at the root, in both forms', () => {
    const train = fixtureStateDict(fixturePath('blocks', manifest.files.train_safetensors));
    const [block, ...others] = detectBlocks(train);
    expect(others).toEqual([]);
    const { weight, bias } = manifest.fused_keys;
    const expected = { ...manifest, prefix: '', type: manifest.op, weight_key: weight, bias_key: bias };
    expect(found(block!)).toEqual(expectedBlock(expected));
    expect([null, manifest.fused.groups]).toContain(block!.groups);
    // Squeeze-excite is left in place.
    expect([...train.keys()].filter((key) => !block!.trainKeys.includes(key) && !/^(se|post_se)\./.test(key))).toEqual(
      [],
    );

    const deploy = detectBlocks(fixtureStateDict(fixturePath('blocks', manifest.files.deploy_safetensors)));
    expect(deploy).toMatchObject([{ prefix: '', form: 'deploy', deployKeys: { weight, bias }, trainKeys: [] }]);
    expect(deploy[0]!.family.split(' or ')).toContain(familyOf(manifest.op));
  });
});

test('the trained networks: their blocks are found', async () => {
  for (const name of fixtureCases('trained')) {
    const manifest = readManifest('trained', name);
    const { tensors } = await readCheckpoint(fixturePath('trained', manifest.files.checkpoint));
    expect(byPrefix(detectBlocks(tensors).map(found))).toEqual(byPrefix(manifest.blocks.map(expectedBlock)));
  }
});

test.each([
  ['bn-size-mismatch', 'unsupported'],
  ['branch-shape-mismatch', 'unsupported'],
  ['identity-size-mismatch', 'unsupported'],
  ['int-weight', 'unsupported'],
  ['missing-branch', 'partial'],
  ['missing-running-mean', 'partial'],
  ['missing-running-var', 'partial'],
])('bad/%s is %s, naming the tensor', async (name, kind) => {
  const manifest = readManifest('checkpoints/bad', name);
  const { tensors } = await readCheckpoint(fixturePath('checkpoints/bad', manifest.files.checkpoint));
  const problems = detectBlocks(tensors).flatMap(({ problem }) => problem ?? []);
  expect(problems).toEqual([expect.objectContaining({ kind })]);
  for (const text of manifest.error_names_all) expect(problems[0]!.reason).toContain(text);
});
