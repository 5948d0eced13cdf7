import { type AffineConv, materialize } from '../../lib/algebra';
import { type AffineOp, type MergeOwner, Merging, nodesOf } from '../../lib/algebra/merge';
import { add, concatChannels, conv2d, crop, padBorder, runBranch, type Stage } from '../../lib/ops';
import type { Padding4 } from '../../lib/ops/geometry';
import { type Float32Tensor, Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { Random } from '../support/random';

/** A node of a toy graph: an affine operation, or (null) one that doubles its input by other means. */
interface ToyNode {
  readonly id: string;
  readonly op: AffineOp | null;
  readonly inputs: readonly string[];
}

/** What the pass made, in order. */
type Made = { readonly id: string } & (
  | { readonly node: ToyNode }
  | { readonly source: string; readonly conv: AffineConv; readonly from: readonly string[] }
);

const random = new Random(17);
const CHANNELS = 4;
const INPUT = Tensor.f32([1, CHANNELS, 7, 6], random.floats(CHANNELS * 42));

const map = (id: string, input: string, ...stages: Stage[]): ToyNode => ({
  id,
  op: { kind: 'stages', input, stages },
  inputs: [input],
});
const join = (id: string, kind: 'sum' | 'difference' | 'concat', ...inputs: string[]): ToyNode => ({
  id,
  op: { kind, inputs },
  inputs,
});
const frame = (id: string, input: string, padding: Padding4, fill?: readonly number[]): ToyNode => ({
  id,
  op: { kind: 'frame', input, padding, fill },
  inputs: [input],
});
const other = (id: string, input: string): ToyNode => ({ id, op: null, inputs: [input] });

function conv(out: number, into: number, kernel: number, how: { padding?: number; bias?: boolean } = {}): Stage {
  const { padding = 0, bias = true } = how;
  return {
    kind: 'conv2d',
    weight: Tensor.f32([out, into, kernel, kernel], random.floats(out * into * kernel * kernel)),
    bias: bias ? Tensor.f32([out], random.floats(out)) : null,
    stride: [1, 1],
    padding: [padding, padding, padding, padding],
    dilation: [1, 1],
    groups: 1,
  };
}
const scaled = (channels = CHANNELS): Stage => ({
  kind: 'scale',
  scale: Tensor.f32([channels], random.floats(channels)),
});

type Options = Partial<Pick<MergeOwner<ToyNode>, 'grow' | 'excess' | 'obstacle' | 'refused'>>;

/** Merges a graph whose last node is its output. */
function merge(nodes: readonly ToyNode[], options: Options = {}): { made: Made[]; reasons: Map<string, string> } {
  const made: Made[] = [];
  const readers = (value: string) => nodes.flatMap(({ inputs }) => inputs).filter((input) => input === value).length;
  const output = nodes.at(-1)!.id;
  const counts = new Map(['x', ...nodes.map(({ id }) => id)].map((id) => [id, readers(id)]));
  const makeAlone = (node: ToyNode) => {
    for (const input of node.inputs) merging.settle(input);
    made.push({ id: node.id, node });
  };
  const merging: Merging<ToyNode> = new Merging({
    nameOf: ({ id }) => id,
    hasOneReader: (id) => counts.get(id) === 1 && id !== output,
    channelsOf: (id) => (id === 'x' ? CHANNELS : undefined),
    makeMerged: (merged) => {
      const { value, source } = merged;
      made.push({ id: value, source, conv: merged.conv, from: nodesOf(merged).map(({ id }) => id) });
    },
    makeAlone,
    ...options,
  });
  for (const node of nodes) if (node.op === null || !merging.take(node, node.id, node.op)) makeAlone(node);
  merging.settle(output);
  merging.settleAll();
  return { made, reasons: new Map([...merging.reasons].map(([{ id }, reason]) => [id, reason])) };
}

function compute({ op, inputs }: ToyNode, values: ReadonlyMap<string, Float32Tensor>): Float32Tensor {
  const given = inputs.map((id) => values.get(id)!);
  const negative = ({ shape, data }: Tensor) =>
    Tensor.f32(
      shape,
      (data as Float32Array).map((value) => -value),
    );
  switch (op?.kind) {
    case undefined:
      return add(given[0]!, given[0]!);
    case 'stages':
      return runBranch({ name: 'toy', stages: op.stages }, given[0]!);
    case 'frame': {
      const channels = given[0]!.shape[1]!;
      const fill = Tensor.f32([channels], Float32Array.from(op.fill ?? Array<number>(channels).fill(0)));
      const [cut, added] = [-1, 1].map((sign) => op.padding.map((side) => Math.max(sign * side, 0)));
      return padBorder(crop(given[0]!, cut as unknown as Padding4), fill, added as unknown as Padding4);
    }
    case 'sum':
      return given.reduce((sum, term) => add(sum, term));
    case 'difference':
      return add(given[0]!, negative(given[1]!));
    case 'concat':
      return concatChannels(given);
  }
}

/** Merges, and checks that what comes out computes the same. @returns the ids of what was made, merged ones with their nodes */
function check(nodes: readonly ToyNode[], options: Options = {}) {
  const { made, reasons } = merge(nodes, options);
  const before = new Map<string, Float32Tensor>([['x', INPUT]]);
  for (const node of nodes) before.set(node.id, compute(node, before));
  const after = new Map<string, Float32Tensor>([['x', INPUT]]);
  for (const each of made) {
    if ('node' in each) after.set(each.id, compute(each.node, after));
    else {
      const { weight, bias } = materialize(each.conv);
      const { stride, padding, dilation, groups } = each.conv;
      after.set(each.id, conv2d(after.get(each.source)!, weight, bias, { stride, padding, dilation, groups }));
    }
  }
  const { id } = nodes.at(-1)!;
  expect(after.get(id)!.shape).toEqual(before.get(id)!.shape);
  expect(peakError(after.get(id)!.data as Float32Array, before.get(id)!.data as Float32Array)).toBeLessThan(1e-6);
  return { steps: made.map((each) => ('node' in each ? each.id : each.from.join('+'))), made, reasons };
}

describe('what becomes one convolution', () => {
  const cases: Record<string, ToyNode[]> = {
    'a chain': [map('a', 'x', conv(4, 4, 3, { padding: 1 })), map('b', 'a', scaled()), map('c', 'b', scaled())],
    'a sum of three and the value itself': [
      map('a', 'x', conv(4, 4, 3, { padding: 1 })),
      map('b', 'x', conv(4, 4, 1)),
      map('c', 'x', scaled()),
      join('d', 'sum', 'a', 'x', 'b', 'c'),
    ],
    'a difference': [
      map('a', 'x', conv(4, 4, 3, { padding: 1 })),
      map('b', 'x', conv(4, 4, 1)),
      join('c', 'difference', 'a', 'b'),
    ],
    'the value less a map of it': [map('a', 'x', conv(4, 4, 1)), join('b', 'difference', 'x', 'a')],
    'a concatenation': [
      map('a', 'x', conv(3, 4, 1)),
      map('b', 'x', conv(2, 4, 1)),
      join('c', 'concat', 'b', 'a'),
      map('d', 'c', scaled(5)),
    ],
    'zeros before a convolution': [
      frame('a', 'x', [1, 2, 0, 1]),
      frame('b', 'a', [0, 0, 1, 0]),
      map('c', 'b', conv(4, 4, 3)),
    ],
    'rows cut off, before and after': [
      frame('a', 'x', [-1, 0, 0, -2]),
      map('b', 'a', conv(4, 4, 3)),
      frame('c', 'b', [0, -1, -1, 0]),
    ],
    'zeros of which a part is cut off again': [
      frame('a', 'x', [2, 0, 0, 0]),
      frame('b', 'a', [-1, 0, 0, 0]),
      map('c', 'b', conv(4, 4, 3)),
    ],
  };
  test.each(Object.entries(cases))('%s', (_, nodes) => {
    const { steps, reasons } = check(nodes);
    expect(steps).toHaveLength(1);
    expect(steps[0]!.split('+').sort()).toEqual(nodes.map(({ id }) => id));
    expect(reasons.size).toBe(0);
  });

  test("a frame of the convolution's own bias", () => {
    const first = conv(4, 4, 1) as Extract<Stage, { kind: 'conv2d' }>;
    const own = [...(first.bias!.data as Float32Array)];
    const nodes = (fill: readonly number[]) => [
      map('a', 'x', first),
      frame('b', 'a', [1, 1, 1, 1], fill),
      map('c', 'b', conv(4, 4, 3, { bias: false })),
    ];
    expect(check(nodes(own), { grow: true }).steps).toEqual(['a+b+c']);
    const { steps, reasons } = check(nodes(own.map((value) => value + 1)), { grow: true });
    expect(steps).toEqual(['a', 'b', 'c']);
    expect(reasons.get('b')).toMatch(/what the convolution before it makes of zeros/);
  });
});

describe('what stays apart', () => {
  test('a value that two nodes read, and maps of different values', () => {
    const shared = [map('a', 'x', conv(4, 4, 1)), map('b', 'a', scaled()), other('c', 'a'), join('d', 'sum', 'b', 'c')];
    expect(check(shared).steps).toEqual(['a', 'c', 'b', 'd']);
    const unlike = [
      other('o', 'x'),
      map('a', 'x', conv(4, 4, 1)),
      map('b', 'o', conv(4, 4, 1)),
      join('c', 'sum', 'a', 'b'),
    ];
    expect(check(unlike).steps).toEqual(['o', 'a', 'b', 'c']);
  });

  test('what would not be exact, and why', () => {
    const nodes = [map('a', 'x', conv(4, 4, 1)), map('b', 'a', conv(4, 4, 3, { padding: 1 }))];
    const refusals: [string, boolean][] = [];
    const { steps, reasons } = check(nodes, {
      grow: true,
      refused: (node, error, isAlone) => refusals.push([`${node.id} ${error.code}`, isAlone]),
    });
    expect(steps).toEqual(['a', 'b']);
    expect(reasons.get('b')).toMatch(/border/);
    expect(refusals).toEqual([['b ERR_REPFUSE_INEXACT', false]]);
  });

  test('zeros that no convolution follows', () => {
    expect(check([frame('a', 'x', [1, 1, 1, 1]), map('b', 'a', scaled())]).steps).toEqual(['a', 'b']);
  });

  test('a map of a value whose channels nothing tells', () => {
    const nodes = [other('o', 'x'), map('a', 'o', { kind: 'scale', scale: null }), frame('b', 'o', [1, 1, 1, 1])];
    expect(merge([...nodes, join('c', 'concat', 'a', 'b')]).made.map(({ id }) => id)).toEqual(['o', 'a', 'b', 'c']);
  });

  test('an error that the owner throws comes out', () => {
    const refused = (_: ToyNode, error: Error) => {
      throw error;
    };
    expect(() => merge([map('o', 'x', scaled()), map('a', 'o', conv(4, 5, 1))], { refused })).toThrow(/5/);
  });
});

describe('cost', () => {
  // 4 -> 2 -> 4: 8 and 72 elements, as one 144.
  const narrow = [map('a', 'x', conv(2, 4, 1)), map('b', 'a', conv(4, 2, 3))];

  test('one convolution of more elements than its parts is taken back, unless growth is asked for', () => {
    const { steps, reasons } = check(narrow);
    expect(steps).toEqual(['a', 'b']);
    expect(reasons.get('b')).toMatch(/cost more/);
    expect(check(narrow, { grow: true }).steps).toEqual(['a+b']);
  });

  test('what is taken back is asked part by part: a part that pays stays merged', () => {
    const nodes = [
      map('s', 'x', scaled()),
      map('a', 's', conv(2, 4, 1)),
      map('t', 'a', scaled(2)),
      map('b', 't', conv(4, 2, 3)),
    ];
    expect(check(nodes).steps).toEqual(['s+a+t', 'b']);
  });

  test('a chain that does not pay as one is cut where it costs least: nothing is left beside a convolution that can take it', () => {
    const nodes = [
      map('a', 'x', { ...conv(4, 1, 3), groups: 4 } as Stage),
      map('s', 'a', scaled()),
      map('b', 's', conv(4, 4, 1)),
      map('t', 'b', scaled()),
      map('c', 't', { ...conv(4, 1, 3), groups: 4 } as Stage),
      map('u', 'c', scaled()),
      map('d', 'u', conv(4, 4, 1)),
      map('v', 'd', scaled()),
    ];
    const { steps, reasons } = check(nodes);
    expect(steps).toEqual(['a+s', 'b+t', 'c+u', 'd+v']);
    expect([...reasons.keys()].sort()).toEqual(['b', 'c', 'd']);
  });

  test('what a convolution cannot take goes into the other one', () => {
    // Zeros around the second: only a scale goes before them, and the first takes both.
    const shift: Stage = { kind: 'bias', bias: Tensor.f32([2], [1, -1]) };
    const nodes = [
      map('a', 'x', conv(2, 4, 1)),
      map('t', 'a', shift),
      map('b', 't', conv(4, 2, 3, { padding: 1 })),
      map('s', 'b', scaled()),
    ];
    expect(check(nodes).steps).toEqual(['a+t', 'b+s']);
    const before = [map('p', 'x', scaled()), map('q', 'p', conv(2, 4, 1)), map('b', 'q', conv(4, 2, 3))];
    expect(check(before).steps).toEqual(['p+q', 'b']);
  });

  test('a sum that does not pay as one: what follows it stays, its terms are cut each on its own', () => {
    const nodes = [
      map('a', 'x', { ...conv(4, 1, 3, { padding: 1 }), groups: 4 } as Stage),
      map('r', 'a', scaled()),
      map('b', 'x', conv(4, 4, 1)),
      map('s', 'b', scaled()),
      join('c', 'sum', 'r', 's'),
      map('t', 'c', conv(4, 4, 1)),
      map('u', 't', scaled()),
    ];
    const { steps } = check(nodes);
    expect(steps).toEqual(['a+r', 'b+s', 'c', 't+u']);
  });

  test('what does not pay yet may pay with what follows', () => {
    expect(check([...narrow, map('c', 'b', conv(1, 4, 1))]).steps).toEqual(['a+b+c']); // 36 against 84
  });

  test('a sum is taken back in the order of its terms', () => {
    const nodes = [...narrow, map('c', 'x', conv(4, 4, 3)), join('d', 'sum', 'b', 'c')];
    expect(check(nodes).steps).toEqual(['a+b+c+d']); // 144 against 224
    const taken = check(nodes, {
      obstacle: ({ conv: { value } }) => (value.chains.length > 1 ? 'it has two ways' : undefined),
    });
    expect(taken.steps).toEqual(['a', 'b', 'c', 'd']);
    expect(taken.reasons.get('d')).toBe('it has two ways');
  });

  test('a concatenation of kernels of unequal size stays', () => {
    const nodes = [
      map('a', 'x', conv(4, 4, 1)),
      map('b', 'x', conv(4, 4, 3, { padding: 1 })),
      join('c', 'concat', 'a', 'b'),
    ];
    expect(check(nodes).steps).toEqual(['a', 'b', 'c']);
  });

  test('a kernel of hardly anything but zeros is none', () => {
    const far = { ...conv(4, 4, 3), dilation: [2 ** 12, 2 ** 12], padding: [4096, 4096, 4096, 4096] } as Stage;
    const near = conv(4, 4, 3, { padding: 1 });
    const { steps, reasons } = check([map('a', 'x', far), map('b', 'x', near), join('c', 'sum', 'a', 'b')], {
      grow: true,
    });
    expect(steps).toEqual(['a', 'b', 'c']);
    expect(reasons.get('c')).toMatch(/hardly anything but zeros/);
  });

  test('a budget is asked before anything is kept', () => {
    let left = 3;
    const excess = () => (left-- > 0 ? undefined : 'too much');
    const nodes = Array.from({ length: 6 }, (_, i) => map(`s${i}`, i === 0 ? 'x' : `s${i - 1}`, scaled()));
    const { steps, reasons } = check(nodes, { excess });
    expect(steps).toEqual(['s0+s1+s2', 's3', 's4', 's5']);
    expect([...reasons.values()]).toEqual(Array(6 - 3).fill('too much'));
  });
});

describe('size', () => {
  const chain = (length: number, of: (id: string, input: string, i: number) => ToyNode) =>
    Array.from({ length }, (_, i) => of(`n${i}`, i === 0 ? 'x' : `n${i - 1}`, i));

  test('a chain of 2,500 nodes is three maps of at most a thousand', () => {
    const { made } = merge(chain(2500, (id, input) => map(id, input, { kind: 'scale', scale: null })));
    expect(made.map((each) => ('from' in each ? each.from.length : 1))).toEqual([1000, 1000, 500]);
  });

  test('a join of more nodes than one map may hold stays', () => {
    const branches = Array.from({ length: 3 }, (_, b) =>
      Array.from({ length: 400 }, (_, i) => map(`b${b}.${i}`, i === 0 ? 'x' : `b${b}.${i - 1}`, scaled())),
    );
    const { made } = merge([...branches.flat(), join('y', 'sum', 'b0.399', 'b1.399', 'b2.399')]);
    expect(made.map(({ id }) => id)).toEqual(['b0.399', 'b1.399', 'b2.399', 'y']);
  });

  test.each([
    ['chains', (id: string, input: string) => map(id, input, { kind: 'scale', scale: null })],
    ['frames', (id: string, input: string) => frame(id, input, [1, 0, 0, 0])],
    ['sums', (id: string, input: string) => join(id, 'sum', input, 'x')],
  ] as const)('%s of 3,000 nodes that are all taken back overflow no stack', (_, of) => {
    const nodes = [map('n', 'x', scaled()), ...chain(3000, (id, input, i) => of(id, i === 0 ? 'n' : input))];
    const made: string[] = [];
    const makeAlone = ({ id, inputs }: ToyNode) => {
      for (const input of inputs) merging.settle(input);
      made.push(id);
    };
    const merging: Merging<ToyNode> = new Merging({
      nameOf: ({ id }) => id,
      hasOneReader: (id) => id !== 'x',
      channelsOf: () => CHANNELS,
      obstacle: () => 'none is made',
      makeMerged: () => expect('a merge').toBe('taken back'),
      makeAlone,
    });
    for (const node of nodes) if (!merging.take(node, node.id, node.op!)) makeAlone(node);
    merging.settleAll();
    expect(made).toEqual(nodes.map(({ id }) => id));
  });
});
