import { WeightScratch } from '../../lib/engine/weight-scratch';

test('two arrays take turns: what was taken last is left alone by the next', () => {
  const scratch = new WeightScratch();
  const sizes = [9, 65, 1, 0, 64, 9];
  const taken = sizes.map((size) => scratch.take(size));
  expect(taken.map(({ length }) => length)).toEqual(sizes);
  taken.forEach((array, i) => {
    if (i > 0) expect(array.buffer).not.toBe(taken[i - 1]!.buffer);
  });
  expect(taken[2]!.buffer).toBe(taken[0]!.buffer);
  expect(taken[3]!.buffer).toBe(taken[1]!.buffer);
  expect(taken[5]!.buffer).toBe(taken[1]!.buffer);
});

test('many sizes that grow leave few arrays behind', () => {
  const scratch = new WeightScratch();
  const buffers = new Set(Array.from({ length: 1000 }, (_, i) => scratch.take(64 * (i + 1)).buffer));
  expect(buffers.size).toBeLessThan(30);
});
