import {
  ceilOf,
  evaluate,
  floorOf,
  isSizeText,
  least,
  minus,
  most,
  openSizes,
  plus,
  quotient,
  requiredMultiple,
  type Size,
  slicedSize,
  times,
  UnusableSize,
} from '../../lib/sizes';

/** Output size of a convolution along one axis. */
const slid = (size: Size, kernel: number, stride: number, pad: Size = 0): Size =>
  plus(floorOf(plus(size, pad, -kernel), stride), 1);
const halved = (size: Size) => slid(size, 3, 2, 2);

describe('one form', () => {
  const H: Size = 'H';
  test.each<[string, Size, Size]>([
    ['sums', minus(plus('W', H, 3), plus(H, 1)), 'W + 2'],
    ['products', times(plus(H, 1), plus(H, -1)), 'H*H - 1'],
    ['what divides evenly', floorOf(times(6, H), 4), 'H + floor(H/2)'],
    ['multiples before a division', floorOf(plus(times(2, H), 7), 2), 'H + 3'],
    ['divisions of divisions', halved(halved(halved(halved(halved(H))))), 'floor((H + 31)/32)'],
    ['a negative division', minus(0, floorOf(minus(0, H), 7)), ceilOf(H, 7)],
    ['a remainder twice', minus(H, times(7, floorOf(H, 7))), 'H - 7*floor(H/7)'],
    ['a quotient of products', quotient(times('N', 96, H, 'W'), times('N', 3, 'W'))!, '32*H'],
    ['a bound that always holds', most(0, minus(times(2, ceilOf(H, 2)), H)), '-H + 2*floor((H + 1)/2)'],
    ['bounds in any order', least('W', H), least(H, 'W')],
    ['a slice to the end', slicedSize(1, 2 ** 31 - 1, 2, H), 'floor(H/2)'],
    ['a slice without the last', slicedSize(0, -1, 1, H), 'H - 1'],
    ['the first half', slicedSize(0, floorOf(H, 2), 1, H), 'floor(H/2)'],
    ['all turned round', slicedSize(-1, -(2 ** 31), -1, H), 'H'],
  ])('%s', (_, received, expected) => expect(received).toBe(expected));

  test('SAME padding of any kernel and stride makes ceil(size / stride)', () => {
    for (let kernel = 1; kernel < 8; kernel++)
      for (let stride = 1; stride <= kernel; stride++) {
        const total = most(0, plus(times(minus(ceilOf(H, stride), 1), stride), kernel, minus(0, H)));
        expect([kernel, stride, slid(H, kernel, stride, total)]).toEqual([kernel, stride, ceilOf(H, stride)]);
      }
  });

  test('padding to a multiple, as window attention computes it, is seen to be that multiple', () => {
    const left = minus(7, minus(H, times(7, floorOf(H, 7))));
    const padded = plus(H, minus(left, times(7, floorOf(left, 7))));
    expect(times(7, floorOf(padded, 7))).toBe(padded);
    expect(padded).toBe('7*floor((H + 6)/7)');
  });
});

test('forms have the value of what they were made of', () => {
  const made: [Size, (h: number, w: number) => number][] = [
    [halved(halved('H')), (h) => Math.floor((Math.floor((h + 1) / 2) + 1) / 2)],
    [floorOf(plus(times(5, 'H'), times(-3, 'W'), 2), 4), (h, w) => Math.floor((5 * h - 3 * w + 2) / 4)],
    [ceilOf(minus('H', times(2, 'W')), 6), (h, w) => Math.ceil((h - 2 * w) / 6) + 0],
    [floorOf(times('H', 'W'), plus('H', 1)), (h, w) => Math.floor((h * w) / (h + 1))],
    [most(least('H', plus('W', 3)), 5), (h, w) => Math.max(Math.min(h, w + 3), 5)],
    [
      slicedSize(3, -2, 2, 'H'),
      (h) =>
        Array.from({ length: h })
          .slice(3, -2)
          .filter((_, i) => i % 2 === 0).length,
    ],
    [slicedSize(-4, 2 ** 31 - 1, 1, 'W'), (_, w) => Array.from({ length: w }).slice(-4).length],
  ];
  for (const [size, want] of made)
    for (let h = 1; h < 40; h++)
      for (let w = 1; w < 10; w++) {
        const open = new Map([
          ['H', h],
          ['W', w],
        ]);
        expect([size, h, w, evaluate(size, open)]).toEqual([size, h, w, want(h, w)]);
      }
});

describe('what fits', () => {
  const skip = {
    left: times(2, halved(halved(halved(halved(halved('H')))))),
    right: halved(halved(halved(halved('H')))),
  };

  test('a skip connection over five halvings asks for multiples of 32', () => {
    expect(requiredMultiple('H', [skip])).toBe(32);
    expect(requiredMultiple('W', [skip])).toBeUndefined();
  });

  test('of several requirements all are met; none where no multiple meets them', () => {
    const thirds = { left: times(3, floorOf('H', 3)), right: 'H' };
    expect(requiredMultiple('H', [skip, thirds])).toBe(96);
    expect(requiredMultiple('H', [{ left: 'H', right: 7 }])).toBeUndefined();
  });

  test('open sizes of one name are equal', () => {
    expect(openSizes([['N', 3, 'S', 'S']], [[2, 3, 8, 8]])).toEqual(
      new Map([
        ['N', 2],
        ['S', 8],
      ]),
    );
    expect(openSizes([['N', 3, 'S', 'S']], [[2, 3, 8, 9]])).toBeUndefined();
    expect(openSizes([['N', 3]], [[2, 4]])).toBeUndefined();
  });
});

describe('text from outside', () => {
  test.each(['H', '2*(H + 1)', 'floor((H + 1)/2)', 'ceil(H/3) - 1', 'max(0, min(a.b, W_2))', '-H', ' 12 '])(
    '%s is a size',
    (text) => expect(isSizeText(text)).toBe(true),
  );

  test.each([
    '',
    'H +',
    '1.5',
    'H / 2',
    'floor(H)',
    'floor(H/0)',
    'sin(H, 2)',
    'H W',
    'H; W',
    '9'.repeat(20),
    `${'('.repeat(300)}H${')'.repeat(300)}`,
    `${'floor('.repeat(90)}H${'/W)'.repeat(90)}`,
    '(a+b+c+d+e+f+g+h+i+j)*(k+l+m+n+o+p+q+r+s+t)',
    Array(40).fill('H').join('*'),
    'H+'.repeat(600),
  ])('%p is none', (text) => expect(isSizeText(text)).toBe(false));

  test('text that would take long is refused at once', () => {
    const begin = process.cpuUsage();
    const sum = `(${Array.from({ length: 60 }, (_, i) => `a${i}`).join('+')})`;
    expect(isSizeText(`${sum}*${sum}*${sum}`)).toBe(false);
    expect(isSizeText(`${'floor('.repeat(23)}H${'/max(H, W))'.repeat(23)}`)).toBe(true);
    expect(process.cpuUsage(begin).user).toBeLessThan(2e6);
  });

  test('values beyond 2^53, divisions by 0 and unknown names are errors', () => {
    const open = new Map([
      ['H', 2 ** 31],
      ['Z', 0],
    ]);
    expect(() => evaluate('H*H*H', open)).toThrow(UnusableSize);
    expect(() => evaluate('floor(H/Z)', open)).toThrow(UnusableSize);
    expect(() => evaluate('W', open)).toThrow(UnusableSize);
  });
});
