import { type RandomAccess, readBytes } from '../files/random-access';

const LOCAL = Buffer.from('PK\x03\x04');
const CENTRAL = Buffer.from('PK\x01\x02');
const HEADER = 30;
const HAS_DESCRIPTOR = 1 << 3;
const IN_EXTRA_FIELD = 0xffffffff;
/** How far the next header is looked for, behind data of known and unknown size. */
const NEAR = 1 << 10;
const FAR = 1 << 16;

/** An entry as it stands in an archive. */
export interface LocalEntry {
  readonly name: string;
  /** Bytes as stored. */
  readonly size: number;
  /** Bytes of it that the file has. */
  readonly left: number;
}

/**
 * The entries of an archive without its directory, one after the other: all that is left of a file that was cut.
 *
 * @param look is told of an entry, where its data begin and what size it says that they have; returns what size they have
 */
export async function* localEntries(
  source: RandomAccess,
  look: (name: string, start: number, told: number | undefined) => Promise<number | undefined>,
): AsyncGenerator<LocalEntry, void, void> {
  let at = 0;
  while (at + HEADER <= source.size) {
    const header = Buffer.from(await readBytes(source, at, HEADER));
    if (!header.subarray(0, 4).equals(LOCAL)) return;
    const [nameLength, extraLength] = [header.readUInt16LE(26), header.readUInt16LE(28)];
    const start = at + HEADER + nameLength + extraLength;
    if (start > source.size) return;
    const text = Buffer.from(await readBytes(source, at + HEADER, nameLength + extraLength));
    const name = text.toString('utf8', 0, nameLength);
    const isTold = (header.readUInt16LE(6) & HAS_DESCRIPTOR) === 0 || header.readUInt32LE(18) > 0;
    const size = await look(name, start, isTold ? sizeTold(header, text.subarray(nameLength)) : undefined);
    if (size !== undefined) yield { name, size, left: Math.min(size, source.size - start) };
    const next = await nextHeader(source, start + (size ?? 0), size === undefined ? FAR : NEAR);
    if (next === undefined) return;
    at = next;
  }
}

function sizeTold(header: Buffer, extra: Buffer): number {
  const size = header.readUInt32LE(18);
  if (size !== IN_EXTRA_FIELD) return size;
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    // Of zip64: the size of the contents, then that of what is stored.
    if (extra.readUInt16LE(at) === 1 && at + 20 <= extra.length) return Number(extra.readBigUInt64LE(at + 12));
  }
  return size;
}

async function nextHeader(source: RandomAccess, from: number, reach: number): Promise<number | undefined> {
  if (from >= source.size) return undefined;
  const bytes = Buffer.from(await readBytes(source, from, Math.min(reach, source.size - from)));
  const found = [LOCAL, CENTRAL].map((mark) => bytes.indexOf(mark)).filter((index) => index >= 0);
  return found.length === 0 ? undefined : from + Math.min(...found);
}
