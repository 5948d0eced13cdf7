import { type ReadCheckpointOptions, readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { Checkpoint } from '../../lib/checkpoint/state-dict';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';
import { dict, pickle, tensor, type ZipEntry, zipArchive } from '../support/torch-file';

const folder = temporaryFolder();
let files = 0;

function read(bytes: Uint8Array, options?: ReadCheckpointOptions): Promise<Checkpoint> {
  return readCheckpoint(folder.write(`${files++}.pth`, bytes), options);
}

const SIX = Float32Array.of(0, 1, 2, 3, 4, 5);
const PAIR = { size: [2], stride: [1] };
const values = (checkpoint: Checkpoint, name: string) => Array.from(checkpoint.tensors.get(name)!.data as Float32Array);

describe('the archive', () => {
  const PICKLE = pickle(dict({ w: tensor(PAIR) }));
  const data = (extra: Partial<ZipEntry> = {}): ZipEntry => ({
    name: 'a/data/0',
    bytes: new Uint8Array(SIX.buffer),
    ...extra,
  });
  const archive = (...entries: ZipEntry[]) => zipArchive([{ name: 'a/data.pkl', bytes: PICKLE }, ...entries]);

  test.each<[string, ZipEntry[]]>([
    [
      'no folder',
      [
        { name: 'data.pkl', bytes: PICKLE },
        { name: 'data/0', bytes: new Uint8Array(SIX.buffer) },
      ],
    ],
    [
      'any folder',
      [
        { name: 'ä b/data.pkl', bytes: PICKLE },
        { name: 'ä b/data/0', bytes: new Uint8Array(SIX.buffer) },
      ],
    ],
    ['deflated entries', [{ name: 'a/data.pkl', bytes: PICKLE, deflate: true }, data({ deflate: true })]],
    [
      'byteorder little',
      [{ name: 'a/data.pkl', bytes: PICKLE }, data(), { name: 'a/byteorder', bytes: Buffer.from('little') }],
    ],
  ])('is read with %s', async (_, entries) => {
    const checkpoint = await read(zipArchive(entries));
    expect(values(checkpoint, 'w')).toEqual([0, 1]);
    expect(checkpoint.tensors.get('w')!.data.buffer.byteLength).toBe(24);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['without entries', zipArchive([]), /without data\.pkl.*nothing/],
    [
      'with two pickles',
      zipArchive([
        { name: 'a/data.pkl', bytes: PICKLE },
        { name: 'b/data.pkl', bytes: PICKLE },
      ]),
      /several data\.pkl/,
    ],
    ['of what should be NumPy arrays', zipArchive([{ name: 'w.npy', bytes: PICKLE }]), /Array "w": Bad .npy file/],
    ['of TorchScript', archive({ name: 'a/constants.pkl', bytes: PICKLE }), /TorchScript/],
    ['in big endian', archive(data(), { name: 'a/byteorder', bytes: Buffer.from('big') }), /big/],
    ['in no byte order', archive(data(), { name: 'a/byteorder', bytes: Buffer.alloc(99) }), /byteorder/],
    ['with one name twice', archive(data(), data()), /two entries a\/data\/0/],
    ['with a wrong checksum', archive(data({ claim: { crc: 1 } })), /CRC-32/],
    ['with a wrong checksum, deflated', archive(data({ deflate: true, claim: { crc: 1 } })), /CRC-32/],
    ['with an unknown compression', archive(data({ claim: { method: 12 } })), /compression method 12/],
    ['whose entries overlap', archive(data({ claim: { offset: 0, size: 1 << 20 } })), /overlap/],
    [
      'whose entry lies about its size',
      archive(data({ deflate: true, claim: { size: 25 } })),
      /24 bytes instead of 25/,
    ],
    ['whose entry inflates beyond its size', archive(data({ deflate: true, claim: { size: 8 } })), /Bad zip archive/],
    ['that inflates to 4 GiB', archive(data({ deflate: true, claim: { size: 0xfffffffe } })), /too large/],
    ['whose entry begins outside', archive(data({ claim: { offset: 0xfffffff } })), /Bad zip archive/],
    ['whose entry begins nowhere', archive(data({ claim: { offset: 3 } })), /local file header/],
    ['with a name that climbs out', archive(data({ name: '../data/0' })), /\.\.\/data\/0/],
    ['with something behind it', Buffer.concat([archive(data()), Buffer.alloc(7)]), /comment length/],
  ])('is refused %s', async (_, bytes, message) => {
    const before = process.memoryUsage().arrayBuffers;
    expect((await refusal(read(bytes))).message).toMatch(message);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 24);
  });

  test('zip64 directories are read, and their counts not believed', async () => {
    const whole = archive(data());
    expect(values(await read(asZip64(whole, 2n)), 'w')).toEqual([0, 1]);
    expect((await refusal(read(asZip64(whole, 2n ** 40n)))).message).toMatch(/1099511627776 entries \(limit/);
    expect((await refusal(read(asZip64(whole, 3n)))).message).toMatch(/Bad zip archive/);
  });

  test('a real bomb is refused, not inflated', async () => {
    const zeros = new Uint8Array(1 << 28);
    const bomb = archive(data({ bytes: zeros, deflate: true }));
    expect(bomb.length).toBeLessThan(1 << 20);
    expect((await refusal(read(bomb))).message).toMatch(/too large/);
  });

  test('the storage of a dict that is not chosen is not read', async () => {
    const root = dict({ model: dict({ w: tensor(PAIR) }), broken: tensor({ key: '1', ...PAIR }) });
    const bytes = zipArchive([
      { name: 'a/data.pkl', bytes: pickle(root) },
      data(),
      { name: 'a/data/1', bytes: new Uint8Array(8), claim: { crc: 1 } },
    ]);
    expect(values(await read(bytes, { keyPath: ['model'] }), 'w')).toEqual([0, 1]);
  });
});

/** The same archive with its directory described by a zip64 record, which claims this many entries. */
function asZip64(archive: Buffer, entries: bigint): Buffer {
  const end = archive.subarray(archive.length - 22);
  const directory = end.readUInt32LE(16);
  const record = Buffer.alloc(56);
  record.write('PK\x06\x06', 'latin1');
  record.writeBigUInt64LE(44n, 4);
  record.writeBigUInt64LE(entries, 24);
  record.writeBigUInt64LE(entries, 32);
  record.writeBigUInt64LE(BigInt(end.readUInt32LE(12)), 40);
  record.writeBigUInt64LE(BigInt(directory), 48);
  const locator = Buffer.alloc(20);
  locator.write('PK\x06\x07', 'latin1');
  locator.writeBigUInt64LE(BigInt(archive.length - 22), 8);
  locator.writeUInt32LE(1, 16);
  const tail = Buffer.from(end);
  tail.fill(0xff, 8, 20);
  return Buffer.concat([archive.subarray(0, -22), record, locator, tail]);
}
