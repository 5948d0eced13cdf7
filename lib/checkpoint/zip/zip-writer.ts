import { zlib } from '../../native/slow-modules';
import type { Sink } from '../files/new-file';

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const END = 0x06054b50;
/** What a 32-bit field says where its value stands in the zip64 extra field. */
const ELSEWHERE = 0xffffffff;
const UTF8_NAMES = 1 << 11;
/** Zip 4.5: zip64. */
const VERSION = 45;
/** 1980-01-01, the first day that zip can tell: equal input gives equal bytes. */
const DATE = (1 << 5) | 1;
/** Extra field of padding, as torch calls it. */
const PADDING = 0x4246;

interface Entry {
  readonly name: Buffer;
  readonly size: number;
  readonly crc: number;
  readonly offset: number;
}

/**
 * Writes a zip archive of stored entries, in order, each entry's data at a multiple of `alignment`: as torch and numpy lay out theirs, so that
 * both can map them. Any size (zip64).
 */
export class ZipWriter {
  private readonly entries: Entry[] = [];
  private at = 0;

  constructor(
    private readonly sink: Sink,
    private readonly alignment: number,
  ) {}

  /** @param parts what the entry holds, one after the other */
  async add(entryName: string, ...parts: readonly Uint8Array[]): Promise<void> {
    const name = Buffer.from(entryName);
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    // zlib takes no bytes at all for a fresh start.
    const crc = parts.reduce((value, part) => (part.length === 0 ? value : zlib().crc32(part, value)), 0);
    this.entries.push({ name, size, crc, offset: this.at });
    await this.write(localHeader(name, size, crc, this.at, this.alignment));
    for (const part of parts) await this.write(part);
  }

  /** The directory; nothing can be added any more. */
  async finish(): Promise<void> {
    const start = this.at;
    for (const entry of this.entries) await this.write(centralHeader(entry));
    await this.write(endOfDirectory(this.entries.length, start, this.at - start));
  }

  private async write(bytes: Uint8Array): Promise<void> {
    await this.sink.write(bytes);
    this.at += bytes.length;
  }
}

function localHeader(name: Buffer, size: number, crc: number, at: number, alignment: number): Buffer {
  const large = size >= ELSEWHERE;
  const zip64 = large ? extra64([size, size]) : Buffer.alloc(0);
  const unpadded = at + 30 + name.length + zip64.length + 4;
  const padding = Buffer.alloc(4 + ((alignment - (unpadded % alignment)) % alignment));
  padding.writeUInt16LE(PADDING, 0);
  padding.writeUInt16LE(padding.length - 4, 2);
  const fixed = Buffer.alloc(30);
  fixed.writeUInt32LE(LOCAL, 0);
  fixed.writeUInt16LE(VERSION, 4);
  describe(fixed, 6, { name, crc, size: large ? ELSEWHERE : size, extra: zip64.length + padding.length });
  return Buffer.concat([fixed, name, zip64, padding]);
}

function centralHeader({ name, size, crc, offset }: Entry): Buffer {
  const far = size >= ELSEWHERE || offset >= ELSEWHERE;
  const zip64 = far ? extra64([size, size, offset]) : Buffer.alloc(0);
  const fixed = Buffer.alloc(46);
  fixed.writeUInt32LE(CENTRAL, 0);
  fixed.writeUInt16LE(VERSION, 4);
  fixed.writeUInt16LE(VERSION, 6);
  describe(fixed, 8, { name, crc, size: far ? ELSEWHERE : size, extra: zip64.length });
  fixed.writeUInt32LE(far ? ELSEWHERE : offset, 42);
  return Buffer.concat([fixed, name, zip64]);
}

/** The fields that both headers have: flags, method (stored), time, date, CRC, sizes, lengths of name and extra field. */
function describe(
  header: Buffer,
  at: number,
  { name, crc, size, extra }: { name: Buffer; crc: number; size: number; extra: number },
): void {
  header.writeUInt16LE(UTF8_NAMES, at);
  header.writeUInt16LE(DATE, at + 6);
  header.writeUInt32LE(crc, at + 8);
  header.writeUInt32LE(size, at + 12);
  header.writeUInt32LE(size, at + 16);
  header.writeUInt16LE(name.length, at + 20);
  header.writeUInt16LE(extra, at + 22);
}

function extra64(values: readonly number[]): Buffer {
  const extra = Buffer.alloc(4 + 8 * values.length);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(8 * values.length, 2);
  for (const [i, value] of values.entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * i);
  return extra;
}

function endOfDirectory(count: number, start: number, size: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(END, 0);
  end.writeUInt16LE(Math.min(count, 0xffff), 8);
  end.writeUInt16LE(Math.min(count, 0xffff), 10);
  end.writeUInt32LE(Math.min(size, ELSEWHERE), 12);
  end.writeUInt32LE(Math.min(start, ELSEWHERE), 16);
  if (count < 0xffff && size < ELSEWHERE && start < ELSEWHERE) return end;
  const end64 = Buffer.alloc(56 + 20);
  end64.writeUInt32LE(END64, 0);
  end64.writeBigUInt64LE(44n, 4);
  end64.writeUInt16LE(VERSION, 12);
  end64.writeUInt16LE(VERSION, 14);
  end64.writeBigUInt64LE(BigInt(count), 24);
  end64.writeBigUInt64LE(BigInt(count), 32);
  end64.writeBigUInt64LE(BigInt(size), 40);
  end64.writeBigUInt64LE(BigInt(start), 48);
  end64.writeUInt32LE(END64_LOCATOR, 56);
  end64.writeBigUInt64LE(BigInt(start + size), 64);
  end64.writeUInt32LE(1, 72);
  return Buffer.concat([end64, end]);
}
