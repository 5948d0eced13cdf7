import { type ReadCheckpointOptions, readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { Checkpoint } from '../../lib/checkpoint/state-dict';
import { cpuTimeOf } from '../support/cpu-time';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';
import { call, dict, global, type Item, instance, pickle, tensor, torchFile } from '../support/torch-file';

const folder = temporaryFolder();
let files = 0;

function read(bytes: Uint8Array, options?: ReadCheckpointOptions): Promise<Checkpoint> {
  return readCheckpoint(folder.write(`${files++}.pth`, bytes), options);
}

function readRoot(root: Item, storages: Readonly<Record<string, ArrayBufferView>> = {}): Promise<Checkpoint> {
  return read(torchFile(root, storages));
}

const SIX = Float32Array.of(0, 1, 2, 3, 4, 5);
const PAIR = { size: [2], stride: [1] };
const values = (checkpoint: Checkpoint, name: string) => Array.from(checkpoint.tensors.get(name)!.data as Float32Array);

describe('what else is in the file (P09)', () => {
  const scalar = call('numpy.core.multiarray.scalar', call('numpy.dtype', 'f8', false, true), 'bytes');

  test('a numpy scalar, a set and an object beside the weights are listed, not executed', async () => {
    const checkpoint = await readRoot(
      dict({
        best_acc: scalar,
        classes: call('builtins.set', ['cat', 'dog']),
        args: instance('argparse.Namespace', dict({ lr: 0.1 })),
        epoch: 12,
        lr: Buffer.from('F1.0\n'),
        name: 'resnet',
        state_dict: dict({ w: tensor(PAIR), step: 3 }),
      }),
      { 0: SIX },
    );
    expect(values(checkpoint, 'w')).toEqual([0, 1]);
    expect(checkpoint.skipped).toEqual([
      { path: 'best_acc', what: 'numpy.core.multiarray.scalar (not executed)' },
      { path: 'classes', what: 'set of 2' },
      { path: 'args', what: 'argparse.Namespace (not executed)' },
      { path: 'epoch', what: 'number 12' },
      { path: 'lr', what: 'number 1' },
      { path: 'name', what: 'string "resnet"' },
      { path: 'state_dict.step', what: 'number 3' },
    ]);
  });

  test('a call of os.system is refused, even if the weights are fine', async () => {
    const root = dict({ state_dict: dict({ w: tensor(PAIR) }), x: call('os.system', 'echo repfuse-canary') });
    const error = await refusal(readRoot(root, { 0: SIX }));
    expect(error.code).toBe('ERR_REPFUSE_PICKLE');
    expect(error.message).toContain('os.system');
  });
});

describe('which dict is the state dict', () => {
  const set = (name = 'w') => dict({ [name]: tensor(PAIR), b: tensor(PAIR) });
  const found = async (root: Item, options?: ReadCheckpointOptions) => {
    const { keyPath, alternatives } = await read(torchFile(root, { 0: SIX }), options);
    return { keyPath, alternatives };
  };

  test.each<[string, Item, string[], string[][]]>([
    ['the root', set(), [], []],
    ['state_dict before model', dict({ model: set(), state_dict: set() }), ['state_dict'], [['model']]],
    ['an average before its model', dict({ model_ema: set(), model: set() }), ['model_ema'], [['model']]],
    [
      'ema.module as an average',
      dict({ ema: dict({ module: set(), updates: 9 }), model: set() }),
      ['ema', 'module'],
      [['model']],
    ],
    ['only an average', dict({ params_ema: set() }), ['params_ema'], []],
    ['the only one there is', dict({ student: set(), epoch: 1 }), ['student'], []],
    ['nested twice', dict({ checkpoint: dict({ weights_of_net: set() }) }), ['checkpoint', 'weights_of_net'], []],
    ['not the optimizer', dict({ optimizer: dict({ state: set() }), net: set() }), ['net'], []],
    [
      'not the random state at the root',
      dict({ rng_state: tensor(PAIR), model: dict({ a: tensor(PAIR), b: tensor(PAIR), c: tensor(PAIR) }) }),
      ['model'],
      [],
    ],
  ])('%s', async (_, root, keyPath, alternatives) => {
    expect(await found(root)).toEqual({ keyPath, alternatives });
  });

  test('two sets without a convention are ambiguous, and keyPath settles it', async () => {
    const root = dict({ generator: set('g'), discriminator: set('d') });
    const error = await refusal(found(root));
    expect(error).toMatchObject({
      code: 'ERR_REPFUSE_AMBIGUOUS',
      details: { choices: [['generator'], ['discriminator']], option: 'keyPath' },
    });
    expect(error.message).toMatch(/generator, discriminator.*keyPath/);
    expect(await found(root, { keyPath: ['discriminator'] })).toEqual({
      keyPath: ['discriminator'],
      alternatives: [['generator']],
    });
  });

  test('a small customary set does not hide a large one', async () => {
    const large = dict(Array.from({ length: 9 }, (_, i) => [`w${i}`, tensor(PAIR)] as const));
    expect((await refusal(found(dict({ params: set(), generator: large })))).code).toBe('ERR_REPFUSE_AMBIGUOUS');
  });

  test('a keyPath that leads nowhere names what is there', async () => {
    const root = dict({ epoch: 3, state_dict: set() });
    for (const [keyPath, message] of [
      [['model'], /"model".*keys epoch, state_dict/],
      [['state_dict', 'w', 'x'], /"state_dict.w" is tensor F32 \[2\]/],
      [['epoch'], /number 3/],
      [['state_dict', 'w'], /tensor F32/],
      [[], /dict of 2/],
    ] as const) {
      const error = await refusal(found(root, { keyPath }));
      expect(error.code).toBe('ERR_REPFUSE_KEY');
      expect(error.message).toMatch(message);
    }
  });

  test('the same dict under two names is one set', async () => {
    const root = Buffer.concat([
      dict({ model: Buffer.concat([set(), Buffer.from('q\x01')]) }),
      Buffer.from('('),
      pickle('ema').subarray(2, -1),
      Buffer.from('h\x01u'),
    ]);
    expect(await found(root)).toEqual({ keyPath: ['model'], alternatives: [] });
  });

  test.each<[string, Item]>([
    ['a module', instance('net.Model', dict({ _modules: dict({}) }))],
    [
      'a module of protocol 0',
      Buffer.concat([
        call('copyreg._reconstructor', global('net.Model'), global('builtins.object'), null),
        dict({ _modules: dict({}) }),
        Buffer.from('b'),
      ]),
    ],
  ])('%s without weights is refused by its class', async (_, root) => {
    const error = await refusal(found(root));
    expect(error.code).toBe('ERR_REPFUSE_FORMAT');
    expect(error.message).toContain('net.Model');
  });

  test.each<[string, Item, RegExp]>([
    ['a number', 3, /number 3/],
    ['an empty dict', dict({}), /dict of 0/],
    ['numbers by name', dict({ a: 1, b: 2 }), /dict of 2 \(the keys a, b\)/],
    ['a tensor alone', tensor(PAIR), /tensor F32 \[2\]/],
  ])('%s is no state dict', async (_, root, message) => {
    const error = await refusal(found(root));
    expect(error.code).toBe('ERR_REPFUSE_FORMAT');
    expect(error.message).toMatch(message);
  });

  test('a hundred thousand sets take no hundred thousand times longer', async () => {
    const root = Buffer.concat([
      Buffer.from(']('),
      tensor(PAIR),
      Buffer.from('q\x01e0}('),
      ...Array.from({ length: 100_000 }, (_, i) => [
        pickle(`k${i}`).subarray(2, -1),
        Buffer.from('}X\x01\x00\x00\x00wh\x01s'),
      ]).flat(),
      Buffer.from('u'),
    ]);
    const time = await cpuTimeOf(async () => {
      expect((await refusal(found(root))).code).toBe('ERR_REPFUSE_AMBIGUOUS');
      expect((await found(root, { keyPath: ['k5'] })).alternatives).toHaveLength(99_999);
    });
    expect(time).toBeLessThan(20_000);
  });
});

describe('wrapper prefixes', () => {
  const names = async (keys: readonly string[], options?: ReadCheckpointOptions) => {
    const root = dict(keys.map((key) => [key, tensor(PAIR)] as const));
    const { tensors, droppedPrefix, skipped } = await read(torchFile(root, { 0: SIX }), options);
    return { keys: [...tensors.keys()], droppedPrefix, skipped: skipped.map(({ path }) => path) };
  };

  test.each<[string, string[], string[], string]>([
    ['DataParallel', ['module.a.w', 'module.b.w'], ['a.w', 'b.w'], 'module.'],
    ['torch.compile', ['_orig_mod.a.w'], ['a.w'], '_orig_mod.'],
    ['both', ['module._orig_mod.a.w', 'module._orig_mod.b'], ['a.w', 'b'], 'module._orig_mod.'],
    ['an averaged model with its counter', ['n_averaged', 'module.a.w'], ['n_averaged', 'a.w'], 'module.'],
    ['only at the start', ['module.submodule.w', 'module.a.module.w'], ['submodule.w', 'a.module.w'], 'module.'],
    ['submodule survives', ['submodule.w', 'submodule.b'], ['submodule.w', 'submodule.b'], ''],
    ['a layer that is called module', ['module.w', 'head.w'], ['module.w', 'head.w'], ''],
    ['names that would collide', ['module.n', 'n'], ['module.n', 'n'], ''],
    ['no dots', ['w', 'module'], ['w', 'module'], ''],
  ])('%s', async (_, keys, expected, droppedPrefix) => {
    expect(await names(keys)).toEqual({ keys: expected, droppedPrefix, skipped: [] });
  });

  test("prefix '' keeps every key", async () => {
    expect(await names(['module.a.w'], { prefix: '' })).toEqual({
      keys: ['module.a.w'],
      droppedPrefix: '',
      skipped: [],
    });
  });

  test('an explicit prefix picks a part, and lists the rest', async () => {
    expect(await names(['backbone.a.w', 'head.w', 'backbone.b'], { prefix: 'backbone.' })).toEqual({
      keys: ['a.w', 'b'],
      droppedPrefix: 'backbone.',
      skipped: ['head.w'],
    });
    const error = await refusal(names(['a.w', 'b.w'], { prefix: 'neck.' }));
    expect(error.code).toBe('ERR_REPFUSE_KEY');
    expect(error.message).toMatch(/"neck\.".*a\.w, b\.w/);
  });
});
