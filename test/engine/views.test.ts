import { Engine } from '../../lib/engine';
import type { Graph } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { imageOf, pixelOf } from '../support/float64-image';
import { Float64Net } from '../support/float64-net';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// Slices and concatenations of channels that lie in blocks of the same memory, frames that are the border of a map, and those that are not.

const BATCH = 2;
const [HEIGHT, WIDTH] = [6, 7];
const random = new Random(5);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));

class Net extends Float64Net {
  readonly outputs: string[] = [];

  constructor(readonly channels: number) {
    super(tensor(BATCH, channels, HEIGHT, WIDTH), random);
  }

  slice(input: string, from: number, to: number, crop = 0): string {
    const x = this.value(input);
    const [n, , height, width] = x.shape;
    const made = imageOf([n, to - from, height - 2 * crop, width - crop], (i, c, y, z) =>
      pixelOf(x, i, from + c, y + crop, z + crop),
    );
    const [starts, ends] = [
      [0, from, crop, crop],
      [n, to, height - crop, width],
    ];
    return this.push({ op: 'slice', inputs: [input], starts, ends, steps: [1, 1, 1, 1] } as never, made);
  }

  /** Every so many-th channel from one on, by way of a leading axis. */
  alternate(input: string, groups: number, place: number): string {
    const x = this.value(input);
    const [n, channels, height, width] = x.shape;
    const each = channels / groups;
    const made = imageOf([n, each, height, width], (i, c, y, z) => pixelOf(x, i, c * groups + place, y, z));
    const step = (node: object, of: string) => this.push({ ...node, inputs: [of] } as never, made);
    const grouped = step({ op: 'reshape', shape: [-1, groups, height * width] }, input);
    const turned = step({ op: 'transpose', perm: [1, 0, 2] }, grouped);
    const images = step({ op: 'reshape', shape: [0, -1, each, height, width] }, turned);
    const [starts, ends] = [
      [place, 0, 0, 0, 0],
      [place + 1, 99, 99, 99, 99],
    ];
    return step({ op: 'squeeze', axes: [0] }, step({ op: 'slice', starts, ends, steps: [1, 1, 1, 1, 1] }, images));
  }

  concat(...inputs: string[]): string {
    const parts = inputs.map((id) => this.value(id));
    const [n, , height, width] = parts[0]!.shape;
    const places = parts.flatMap((part) => Array.from({ length: part.shape[1] }, (_, c) => [part, c] as const));
    const made = imageOf([n, places.length, height, width], (i, c, y, z) =>
      pixelOf(places[c]![0], i, places[c]![1], y, z),
    );
    return this.push({ op: 'concat', inputs, axis: 1 } as never, made);
  }

  /** A frame: rows above, columns on the left, rows below, columns on the right. */
  pad(input: string, [top, left, bottom, right]: readonly [number, number, number, number], value = 0): string {
    const x = this.value(input);
    const [n, channels, height, width] = x.shape;
    const made = imageOf([n, channels, height + top + bottom, width + left + right], (i, c, y, z) => {
      const [from, column] = [y - top, z - left];
      const isInside = from >= 0 && from < height && column >= 0 && column < width;
      return isInside ? pixelOf(x, i, c, from, column) : value;
    });
    const [before, after] = [
      [0, 0, top, left],
      [0, 0, bottom, right],
    ];
    return this.push({ op: 'pad', inputs: [input], before, after, mode: 'constant', value } as never, made);
  }

  relu(input: string): string {
    const { shape, data } = this.value(input);
    return this.push({ op: 'relu', inputs: [input] } as never, { shape, data: data.map((v) => Math.max(v, 0)) });
  }

  maxPool(input: string): string {
    const x = this.value(input);
    const around = [-1, 0, 1];
    const inside = (y: number, z: number) => y >= 0 && z >= 0 && y < x.shape[2] && z < x.shape[3];
    const made = imageOf(x.shape, (i, c, y, z) =>
      Math.max(
        ...around.flatMap((u) => around.flatMap((v) => (inside(y + u, z + v) ? [pixelOf(x, i, c, y + u, z + v)] : []))),
      ),
    );
    const node = { op: 'max_pool2d', inputs: [input], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
    return this.push({ ...node, dilation: [1, 1], ceil_mode: false } as never, made);
  }
}

interface Case {
  readonly net: Net;
  /** Kernels of the slices and concatenations, in their order. */
  readonly kernels: readonly string[];
}

function given(channels: number, build: (net: Net) => string[], kernels: readonly string[]): Case {
  const net = new Net(channels);
  net.outputs.push(...build(net));
  return { net, kernels };
}

/** One half goes through convolutions, then both are joined, as in CSPNet. */
const halves = (channels: number) => (net: Net) => {
  const whole = net.relu(net.conv('x', channels));
  const [first, second] = [net.slice(whole, 0, channels / 2), net.slice(whole, channels / 2, channels)];
  const deep = net.add(net.relu(net.conv(second, channels / 2, 3)), second);
  return [net.conv(net.concat(first, deep), 20, 3)];
};

const CASES: Readonly<Record<string, Case>> = {
  'halves on blocks': given(8, halves(64), ['view', 'view', 'concat, 1 of 2 in place']),
  'halves of half a block': given(8, halves(48), ['slice', 'slice', 'concat']),
  'all slices, and what is made of the last (C2f)': given(
    8,
    (net) => {
      const whole = net.relu(net.conv('x', 32));
      const [first, second] = [net.slice(whole, 0, 16), net.slice(whole, 16, 32)];
      const deep = net.add(net.relu(net.conv(second, 16, 3)), second);
      const deeper = net.add(net.relu(net.conv(deep, 16, 3)), deep);
      return [net.conv(net.concat(first, second, deep, deeper), 24)];
    },
    ['view', 'view', 'view'],
  ),
  'one that ends within a block': given(
    8,
    (net) => {
      const whole = net.conv('x', 40);
      return [net.conv(net.slice(whole, 16, 40), 12, 3), net.conv(net.slice(whole, 8, 40), 12)];
    },
    ['view', 'slice'],
  ),
  'a slice of a slice, and one that is an output too': given(
    8,
    (net) => {
      const part = net.slice(net.conv('x', 64), 16, 64);
      const inner = net.slice(part, 16, 32);
      return [net.conv(inner, 8, 3), part, inner];
    },
    ['view', 'view'],
  ),
  'dense: each concatenation begins as the next': given(
    8,
    (net) => {
      const a = net.relu(net.conv('x', 16));
      const b = net.relu(net.conv(net.concat(a, a), 16, 3));
      const c = net.relu(net.conv(net.concat(a, b), 32, 3));
      const d = net.relu(net.conv(net.concat(a, b, c), 20));
      return [net.conv(net.concat(a, b, c, d), 10)];
    },
    ['concat', 'view', 'view', 'view'],
  ),
  'dense: one after the other': given(
    8,
    (net) => {
      let all = net.relu(net.conv('x', 16));
      for (let i = 0; i < 3; i++) all = net.concat(all, net.relu(net.conv(all, 16, 3)));
      return [net.conv(all, 10)];
    },
    ['view', 'view', 'view'],
  ),
  'parts that others read, with wider borders': given(
    8,
    (net) => {
      const [a, b] = [net.relu(net.conv('x', 16)), net.relu(net.conv('x', 32))];
      const joined = net.concat(a, b);
      const far = net.conv(net.add(net.conv(a, 32, 5), b), 8, 3);
      return [net.conv(joined, 8, 3), far, a];
    },
    ['view'],
  ),
  'parts off blocks': given(
    8,
    (net) => {
      const [a, b, c] = [net.conv('x', 16), net.relu(net.conv('x', 12)), net.relu(net.conv('x', 21))];
      return [net.relu(net.concat(a, b, c)), net.conv(net.concat(c, b), 5)];
    },
    ['concat, 1 of 3 in place', 'concat'],
  ),
  'twice the same': given(
    8,
    (net) => {
      const part = net.relu(net.conv('x', 32, 3));
      return [net.conv(net.concat(part, part), 8)];
    },
    ['concat, 1 of 2 in place'],
  ),
  'the input, sliced and concatenated': given(
    32,
    (net) => {
      const deep = net.relu(net.conv(net.slice('x', 16, 32), 16, 3));
      return [net.relu(net.concat('x', deep)), net.slice('x', 0, 16)];
    },
    ['view', 'view', 'view'],
  ),
  'every other channel, as ShuffleNet and FastestDet have it': given(
    8,
    (net) => {
      const whole = net.relu(net.conv('x', 48));
      const [a, b] = [net.alternate(whole, 2, 0), net.alternate(whole, 2, 1)];
      return [net.concat(a, net.relu(net.conv(b, 24, 3))), net.alternate(whole, 3, 2)];
    },
    ['slice', 'slice', 'concat', 'slice'],
  ),
  'views that are pooled, summed, sliced of rows': given(
    8,
    (net) => {
      const whole = net.relu(net.conv('x', 48));
      const [a, b] = [net.slice(whole, 0, 16), net.slice(whole, 16, 48)];
      const pooled = net.maxPool(b);
      const cropped = net.slice(net.add(pooled, b), 8, 32, 1);
      return [net.concat(net.relu(a), pooled), cropped, net.conv(a, 16, 3, { groups: 16 })];
    },
    ['view', 'view', 'slice', 'view'],
  ),
  'frames that two read, one of them a pool (HGNetV2)': given(
    8,
    (net) => {
      const framed = net.pad(net.relu(net.conv('x', 20)), [0, 0, 1, 1]);
      const again = net.pad(net.relu(net.conv(framed, 16, 3)), [1, 1, 0, 0]);
      return [net.concat(net.maxPool(again), net.conv(again, 17, 5)), net.maxPool(framed)];
    },
    ['view', 'view', 'view'],
  ),
  'frames of other values, of other sides, and wide ones': given(
    8,
    (net) => {
      const a = net.relu(net.conv('x', 16, 3));
      return [
        net.pad(a, [1, 1, 0, 0], 0.5),
        net.pad(a, [0, 1, 1, 0]),
        net.pad(a, [9, 9, 9, 9]),
        net.pad(a, [1, 1, 2, 2]),
      ];
    },
    ['frame', 'frame', 'frame', 'view'],
  ),
  'frames of parts, of slices and of frames': given(
    32,
    (net) => {
      const [a, b] = [net.relu(net.conv('x', 16)), net.relu(net.conv('x', 24))];
      const joined = net.concat(a, b);
      const [first, both] = [net.pad(a, [1, 1, 1, 1]), net.pad(joined, [2, 2, 1, 1])];
      const part = net.pad(net.slice(both, 16, 40), [1, 1, 0, 0]);
      const half = net.pad(net.slice('x', 16, 32), [0, 0, 2, 2]);
      return [net.conv(first, 8, 3), net.conv(joined, 8, 5), net.concat(part, part), net.maxPool(half), first, half];
    },
    ['view', 'view', 'view', 'view', 'view', 'view', 'concat', 'view'],
  ),
  'framed parts of a concatenation': given(
    8,
    (net) => {
      const [a, b] = [net.pad(net.relu(net.conv('x', 16)), [1, 1, 1, 1]), net.pad(net.conv('x', 32), [1, 1, 1, 1])];
      const [c, d] = [net.pad(net.conv('x', 16), [1, 1, 1, 1]), net.pad(net.conv('x', 16), [0, 0, 2, 2])];
      return [net.concat(a, b), net.conv(net.concat(c, a), 8, 3), net.concat(c, d), b];
    },
    ['view', 'view', 'concat', 'view', 'concat', 'view', 'concat'],
  ),
};

async function check({ net, kernels }: Case, precision: 'f32' | 'fast', threads: number, tolerance: number) {
  const [output] = net.outputs;
  const graph = { input: 'x', output, outputs: net.outputs, inputShape: [net.channels, HEIGHT, WIDTH] };
  const { nodes, tensors } = net;
  const whole = { ...graph, nodes } as unknown as Graph;
  await using engine = await Engine.create({ graph: whole, tensors }, { threads, precision });
  const got = await engine.runAll({ x: net.x });
  for (const id of net.outputs) {
    const want = net.value(id);
    expect(got.get(id)?.shape).toEqual(want.shape);
    expect(peakError(got.get(id)!.data as Float32Array, want.data)).toBeLessThan(tolerance);
  }
  const steps = engine.explain(net.x.shape);
  const joins = new Set(
    nodes.filter(({ op }) => ['slice', 'squeeze', 'concat', 'pad'].includes(op)).map(({ id }) => id),
  );
  const told = steps.filter(({ layer, kernel }) => joins.has(layer) && kernel !== 'split');
  expect(told.map(({ kernel }) => kernel)).toEqual(kernels);
  expect(steps.map(({ kernel }) => kernel)).not.toContain('to tensor');
  expect(told.filter(({ kernel }) => kernel === 'view').map(({ seconds }) => seconds)).toEqual(
    kernels.filter((kernel) => kernel === 'view').map(() => null),
  );
}

describe.each(availableIsas())('%s', (isa) => {
  test.each(Object.entries(CASES))('%s', async (_, each) => {
    await withIsa(isa, async () => {
      for (const threads of [1, 3]) await check(each, 'f32', threads, 4e-6);
      await check(each, 'fast', 2, 1e-3);
    });
  });
});
