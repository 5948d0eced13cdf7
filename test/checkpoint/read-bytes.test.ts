import { type RandomAccess, readBytes } from '../../lib/checkpoint/files/random-access';

const CHUNK = 1 << 22;

/** A file of so many bytes, of which the reads that begin at these places fail after a while. */
function failing(size: number, milliseconds: (offset: number) => number, fails: (offset: number) => boolean) {
  let [underWay, most] = [0, 0];
  const source: RandomAccess = {
    size,
    async read(offset, into) {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, milliseconds(offset)));
      underWay--;
      if (fails(offset)) throw new Error(`at ${offset}`);
      into.fill(1 + offset / CHUNK);
    },
  };
  return { source, underWay: () => underWay, most: () => most };
}

test('chunks are read several at a time, and seen in their order', async () => {
  const { source, most } = failing(
    5 * CHUNK + 7,
    (offset) => 30 - (5 * offset) / CHUNK,
    () => false,
  );
  const seen: number[] = [];
  const bytes = await readBytes(source, 0, source.size, { onChunk: (chunk) => void seen.push(chunk[0]!) });
  expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
  expect(bytes[5 * CHUNK + 6]).toBe(6);
  expect(most()).toBe(3);
});

test('a chunk that fails before those in front of it is an error of the call alone, told when nothing is read any more', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  try {
    const late = failing(
      4 * CHUNK,
      (offset) => (offset === 0 ? 60 : 1),
      (offset) => offset > 0,
    );
    await expect(readBytes(late.source, 0, late.source.size)).rejects.toThrow(`at ${CHUNK}`);
    const first = failing(
      4 * CHUNK,
      (offset) => (offset === 0 ? 1 : 60),
      (offset) => offset === 0,
    );
    await expect(readBytes(first.source, 0, first.source.size)).rejects.toThrow('at 0');
    expect(first.underWay()).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', note);
  }
});
