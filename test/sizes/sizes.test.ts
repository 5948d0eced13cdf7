import { agree, met, multipleFor, withConditions } from '../../lib/sizes/conditions';
import {
  ceilOf,
  floorOf,
  greater,
  isSame,
  leastOf,
  lesser,
  minus,
  OpenSize,
  openSize,
  type Size,
  substituted,
  sum,
  times,
  truncated,
} from '../../lib/sizes/size';
import { parseSize } from '../../lib/sizes/text';
import { slicedSize } from '../../lib/tensor/shape-rules';
import { Random } from '../support/random';

const [H, W] = [openSize('H'), openSize('W')];
const at = (size: Size, height: number, width: number) =>
  substituted(
    size,
    new Map([
      ['H', height],
      ['W', width],
    ]),
  );

describe('a size is the number that its arithmetic makes of numbers', () => {
  test.each(Array.from({ length: 200 }, (_, seed) => seed))('of seed %i', (seed) => {
    const random = new Random(seed);
    const pick = (below: number) => random.int(0, below - 1);
    /** An expression, and the same as a function of numbers. */
    const make = (depth: number): readonly [Size, (h: number, w: number) => number] => {
      if (depth === 0) {
        const constant = pick(7) - 3;
        return [
          [H, (h: number) => h] as const,
          [W, (_: number, w: number) => w] as const,
          [constant, () => constant] as const,
        ][pick(3)] as readonly [Size, (h: number, w: number) => number];
      }
      const [a, ofA] = make(depth - 1);
      const [b, ofB] = make(depth - 1);
      const by = 1 + pick(5);
      const made = [
        [sum(a, b), (h: number, w: number) => ofA(h, w) + ofB(h, w)],
        [minus(a, b), (h: number, w: number) => ofA(h, w) - ofB(h, w)],
        [times(a, by), (h: number, w: number) => ofA(h, w) * by],
        [floorOf(a, by), (h: number, w: number) => Math.floor(ofA(h, w) / by)],
        [ceilOf(a, by), (h: number, w: number) => Math.ceil(ofA(h, w) / by)],
        [truncated(a, by), (h: number, w: number) => Math.trunc(ofA(h, w) / by)],
        [greater(a, b), (h: number, w: number) => Math.max(ofA(h, w), ofB(h, w))],
        [lesser(a, b), (h: number, w: number) => Math.min(ofA(h, w), ofB(h, w))],
      ] as const;
      return made[pick(made.length)]!;
    };
    const [size, of] = make(4);
    const again = typeof size === 'number' ? size : parseSize(size.text)!;
    for (let run = 0; run < 20; run++) {
      const [height, width] = [1 + pick(40), 1 + pick(40)];
      const want = of(height, width) + 0; // no -0
      expect([String(size), at(size, height, width)]).toEqual([String(size), want]);
      expect(at(again, height, width)).toBe(want);
      expect(leastOf(size)).toBeLessThanOrEqual(want);
    }
    expect(String(again)).toBe(String(size));
  });
});

describe('one normal form', () => {
  const same = (a: Size, b: Size) => expect([String(a), isSame(a, b)]).toEqual([String(b), true]);

  test('of halvings one after the other', () => {
    const half = (size: Size) => sum(floorOf(sum(size, 2 - 3), 2), 1); // kernel 3, stride 2, padding 1
    same(half(half(half(H))), floorOf(sum(H, 7), 8));
  });

  test('of SAME padding, as exporters compute it', () => {
    const pad = greater(0, minus(sum(times(2, minus(ceilOf(H, 2), 1)), 3), H));
    const before = floorOf(pad, 2);
    const framed = sum(H, before, minus(pad, before));
    same(sum(floorOf(minus(framed, 3), 2), 1), ceilOf(H, 2));
  });

  test('of windows: what divides goes out of a quotient', () => {
    const rows = openSize('rows');
    same(floorOf(times(7, times(rows, W)), times(7, rows)), W);
    same(floorOf(sum(times(6, H), 4), 4), floorOf(sum(times(3, H), 2), 2));
  });
});

describe('conditions', () => {
  test('of a network that halves five times: its multiple is proven', () => {
    const down = (size: Size) => sum(floorOf(minus(size, 2), 2), 1);
    const { conditions } = withConditions(() => {
      const sizes: Size[] = [H];
      for (let level = 0; level < 5; level++) sizes.push(down(sizes.at(-1)!));
      for (let level = 5; level > 0; level--) met(times(2, sizes[level]!), sizes[level - 1]!);
    });
    expect(multipleFor(conditions, ['H'])).toBe(32);
  });

  test.each([
    [7, 7],
    [14, 14],
    [24, 24],
  ])('of windows of %i pixels', (window, multiple) => {
    const { conditions } = withConditions(() => agree(times(window, floorOf(H, window)), H));
    expect(multipleFor(conditions, ['H'])).toBe(multiple);
  });

  test('what never fits is told at once, what always fits is none', () => {
    const { made, conditions } = withConditions(() => [agree(sum(H, 1), H), agree(sum(H, W), sum(W, H)), agree(3, 4)]);
    expect(made).toEqual([false, true, false]);
    expect(conditions).toEqual([]);
  });
});

describe('texts of files', () => {
  test.each([
    '',
    ' ',
    'H +',
    'floor(H)',
    'floor(H / 0)',
    'floor(H / -2)',
    'H / 2',
    'min(H)',
    '2 H',
    'H..W ',
    '(H',
    'H)',
    '1e3 * H',
    `${'('.repeat(100)}H${')'.repeat(100)}`,
    `H${' + W'.repeat(2000)}`,
    Array.from({ length: 400 }, (_, i) => `a${i}`).join(' + '),
    `(H + W + a + b)${' * (H + W + a + b)'.repeat(30)}`,
  ])('%p is no size', (text) => {
    expect(parseSize(text) instanceof OpenSize && parseSize(text)!.toString() === text).toBe(false);
  });

  test('a product of sums ends before it takes long', () => {
    const begin = process.cpuUsage().user;
    expect(parseSize(`(H + W + a + b)${' * (H + W + a + b)'.repeat(200)}`)).toBeUndefined();
    expect(process.cpuUsage().user - begin).toBeLessThan(1e6);
  });
});

describe('what a slice takes of an open axis', () => {
  const END = 2 ** 31 - 1;
  test.each([
    ['all of it', 0, END, 1, H],
    ['all but the first', 1, END, 1, minus(H, 1)],
    ['every second', 0, END, 2, ceilOf(H, 2)],
    ['all, backwards', END, -END, -1, H],
  ] as const)('%s', (_, start, end, step, count) => expect(isSame(slicedSize(start, end, step, H)!, count)).toBe(true));
});

test('minima and maxima are the same however they were compared', () => {
  const three = greater(greater(H, W), 9);
  for (const size of [greater(9, greater(W, H)), greater(three, H), greater(W, greater(H, three))])
    expect(isSame(size, three)).toBe(true);
  expect(isSame(greater(lesser(H, W), 9), three)).toBe(false);
});

test('rounding a whole size changes nothing', () => expect(isSame(truncated(minus(H, W), 1), minus(H, W))).toBe(true));
