import { readFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { readNpy } from '../../lib/checkpoint/npz/npy';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { ERROR_CODES, type RepfuseError } from '../../lib/errors';
import { cpuTimeOf } from '../support/cpu-time';
import { fixturePath } from '../support/fixtures';
import { memoryAccess } from '../support/memory-access';
import { Random } from '../support/random';
import { temporaryFolder } from '../support/temporary';
import { call, dict, instance, item, tensor, torchFile, tuple } from '../support/torch-file';

/**
 * Seeded damage: bytes, runs and lengths of small files are changed, cut and doubled. Whatever comes, a reader loads the file or throws
 * a RepfuseError, quickly and without taking much memory.
 */
const MUTATIONS = 400;
const MUCH = 1 << 27;

const folder = temporaryFolder();
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x28, 0x2e, 0x52, 0x51, 0x93, 0x8b, 0x7b, 0x22, 0x50, 0x4b];

function mutate(random: Random, original: Uint8Array): Uint8Array {
  const bytes = Buffer.from(original);
  const at = () => random.int(0, bytes.length - 1);
  for (let edits = random.int(1, 4); edits > 0; edits--) {
    switch (random.int(0, 5)) {
      case 0:
        bytes[at()] = random.int(0, 255);
        break;
      case 1:
        bytes[at()] = random.pick(INTERESTING);
        break;
      case 2:
        bytes[at()]! ^= 1 << random.int(0, 7);
        break;
      case 3: // a length or offset
        if (bytes.length > 8) {
          bytes.writeUInt32LE(
            random.pick([0, 1, 0xffff, 0x7fffffff, 0xffffffff, bytes.length]),
            random.int(0, bytes.length - 4),
          );
        }
        break;
      case 4: {
        const from = at();
        bytes.copy(bytes, at(), from, Math.min(bytes.length, from + random.int(1, 32)));
        break;
      }
      default:
        return bytes.subarray(0, at());
    }
  }
  return random.int(0, 9) === 0 ? Buffer.concat([bytes, bytes.subarray(at())]) : bytes;
}

const root = dict({
  epoch: 3,
  args: instance('argparse.Namespace', dict({ lr: 0.1, names: ['a', 'b'] })),
  best: call('numpy.core.multiarray.scalar', tuple(1, 2n ** 70n), null),
  state_dict: dict({
    'conv.weight': tensor({ size: [2, 3], stride: [1, 2] }),
    'conv.bias': tensor({ key: '1', offset: 1, size: [2], stride: [1] }),
    'bn.running_var': tensor({ key: '1', size: [4], stride: [0] }),
  }),
});
const storages = { 0: Float32Array.of(0, 1, 2, 3, 4, 5), 1: Float32Array.of(6, 7, 8) };
const small = torchFile(root, storages);
const framed = Buffer.concat([Buffer.from([0x80, 4]), item(root), Buffer.from('.')]);

const samples: Record<string, { bytes: Uint8Array; read: (bytes: Uint8Array) => Promise<unknown> }> = {
  'a torch zip': { bytes: small, read: fromFile },
  'a bare pickle': { bytes: framed, read: fromFile },
  'a pickle inside a torch zip': {
    bytes: framed,
    // Around a damaged pickle everything is right, checksum included: the damage reaches the machine.
    read: (bytes) => fromFile(torchFile(Buffer.concat([bytes.subarray(2, -1)]), storages)),
  },
  'a deflated torch zip': { bytes: torchFile(root, storages, { deflate: true }), read: fromFile },
  safetensors: { bytes: readFileSync(fixturePath('checkpoints/bad', 'st-proto-key.safetensors')), read: fromFile },
  '.npy': {
    bytes: Buffer.concat([
      Buffer.from('\x93NUMPY\x01\0\x40\0', 'latin1'),
      Buffer.from("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n".padStart(64)),
      Buffer.alloc(8),
    ]),
    read: (bytes) => readNpy(memoryAccess(bytes)),
  },
};

function fromFile(bytes: Uint8Array): Promise<unknown> {
  return readCheckpoint(folder.write('mutant', bytes));
}

describe.each(Object.entries(samples))('%s', (name, { bytes, read }) => {
  test('in its original form is as good as expected', async () => {
    const outcome = await read(bytes).catch((error: RepfuseError) => error);
    if (name === 'a bare pickle') expect(outcome).toHaveProperty('code', 'ERR_REPFUSE_UNSUPPORTED_FORMAT');
    else expect(outcome).not.toHaveProperty('code');
  });

  test(`${MUTATIONS} mutants give a result or a RepfuseError`, async () => {
    const random = new Random(20);
    const seen = new Map<string, number>();
    for (let i = 0; i < MUTATIONS; i++) {
      const mutant = mutate(random, bytes);
      const before = process.memoryUsage().arrayBuffers;
      let outcome: unknown;
      const time = await cpuTimeOf(async () => {
        outcome = await read(mutant).then(
          () => 'read',
          (error: RepfuseError) => (error.name === 'RepfuseError' && error.code in ERROR_CODES ? error.code : error),
        );
      });
      if (typeof outcome !== 'string') throw new Error(`mutant ${i}: ${mutantText(mutant)}`, { cause: outcome });
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MUCH);
      expect(time).toBeLessThan(5000);
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
    }
    expect(seen.size).toBeGreaterThan(1);
  });
});

/** A mutant in a form that can be pasted into a test. */
function mutantText(bytes: Uint8Array): string {
  return deflateRawSync(bytes).toString('base64').slice(0, 4000);
}
