import { crc32, deflateRawSync } from 'node:zlib';

// Writes torch zip checkpoints, good and bad, byte by byte: the tests' own encoder, by the published formats.

export interface ZipEntry {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly deflate?: boolean;
  /** What the directory claims instead of the truth. */
  readonly claim?: {
    readonly size?: number;
    readonly crc?: number;
    readonly method?: number;
    readonly offset?: number;
  };
}

export function zipArchive(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, bytes, deflate = false, claim = {} } of entries) {
    const data = deflate ? deflateRawSync(bytes) : Buffer.from(bytes);
    const title = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x800, 2); // names are UTF-8
    common.writeUInt16LE(claim.method ?? (deflate ? 8 : 0), 4);
    common.writeUInt32LE(claim.crc ?? crc32(bytes), 10);
    common.writeUInt32LE(deflate ? data.length : (claim.size ?? data.length), 14);
    common.writeUInt32LE(claim.size ?? bytes.length, 18);
    common.writeUInt16LE(title.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, title, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(claim.offset ?? offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), common, tail, title]));
    parts.push(local);
    offset += local.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}

type Pickled = Buffer;
export type Item = string | number | bigint | boolean | null | Pickled | readonly Item[];

/** An expression of a pickle: text, numbers, lists; Buffers are opcodes already. */
export function item(value: Item): Pickled {
  if (Buffer.isBuffer(value)) return value;
  if (value === null) return Buffer.from('N');
  if (typeof value === 'boolean') return Buffer.from([value ? 0x88 : 0x89]);
  if (typeof value === 'bigint') return Buffer.from(`I${value}\n`);
  if (typeof value === 'number') return Buffer.from(Number.isInteger(value) ? `I${BigInt(value)}\n` : `F${value}\n`);
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    return Buffer.concat([Buffer.from('X'), length, text]);
  }
  return Buffer.concat([Buffer.from('('), ...value.map(item), Buffer.from('l')]);
}

export function tuple(...items: readonly Item[]): Pickled {
  return Buffer.concat([Buffer.from('('), ...items.map(item), Buffer.from('t')]);
}

export function dict(entries: Readonly<Record<string, Item>> | readonly (readonly [Item, Item])[]): Pickled {
  const pairs = Array.isArray(entries) ? entries : Object.entries(entries);
  const flat = pairs.flatMap(([key, value]) => [item(key), item(value)]);
  return Buffer.concat([Buffer.from('}('), ...flat, Buffer.from('u')]);
}

export function global(name: string): Pickled {
  const dot = name.lastIndexOf('.');
  return Buffer.from(`c${name.slice(0, dot)}\n${name.slice(dot + 1)}\n`);
}

/** `name(*args)` */
export function call(name: string, ...args: readonly Item[]): Pickled {
  return Buffer.concat([global(name), tuple(...args), Buffer.from('R')]);
}

/** An instance of a class with its attributes, as copyreg's protocol 2 writes it. */
export function instance(name: string, state: Item): Pickled {
  return Buffer.concat([global(name), Buffer.from(')\x81', 'latin1'), item(state), Buffer.from('b')]);
}

export interface TensorSpec {
  readonly storage?: string;
  readonly key?: string;
  readonly offset?: Item;
  readonly size: readonly Item[];
  readonly stride: readonly Item[];
}

export function storage(name: string, key: string): Pickled {
  return Buffer.concat([tuple('storage', global(name), key, 'cpu', 1), Buffer.from('Q')]);
}

export function tensor({
  storage: type = 'torch.FloatStorage',
  key = '0',
  offset = 0,
  size,
  stride,
}: TensorSpec): Pickled {
  return call(
    'torch._utils._rebuild_tensor_v2',
    storage(type, key),
    offset,
    tuple(...size),
    tuple(...stride),
    false,
    call('collections.OrderedDict'),
  );
}

export function pickle(root: Item): Buffer {
  return Buffer.concat([Buffer.from([0x80, 2]), item(root), Buffer.from('.')]);
}

/** A torch zip file with this root and these storages. */
export function torchFile(
  root: Item,
  storages: Readonly<Record<string, ArrayBufferView>> = {},
  { deflate = false }: { readonly deflate?: boolean } = {},
): Buffer {
  const records = Object.entries(storages).map(([key, data]) => ({
    name: `archive/data/${key}`,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }));
  const pickled = { name: 'archive/data.pkl', bytes: pickle(root) };
  const version = { name: 'archive/version', bytes: Buffer.from('3\n') };
  return zipArchive([pickled, ...records, version].map((entry) => ({ ...entry, deflate })));
}
