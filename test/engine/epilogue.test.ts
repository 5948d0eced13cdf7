import { Engine } from '../../lib/engine';
import type { Graph } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { type ConvOptions, Float64Net } from '../support/float64-net';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// What one step does after a convolution, in the order of the graph: beside the definition in float64, and beside the same nodes as steps of their
// own, which outputs of every value make of them.

const SIZE = [9, 15] as const;
const CHANNELS = 24;
const random = new Random(29);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));

const FUNCTIONS = {
  relu: (x: number) => Math.max(x, 0),
  silu: (x: number) => x / (1 + Math.exp(-x)),
  hardswish: (x: number) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
  leaky_relu: (x: number) => (x < 0 ? 0.125 * x : x),
};

class Net extends Float64Net {
  constructor(fill?: (data: Float32Array) => void) {
    const x = tensor(2, CHANNELS, ...SIZE);
    fill?.(x.data as Float32Array);
    super(x, random);
  }

  /** Of results that neither vanish nor grow from one to the next. */
  override conv(input: string, out: number, kernel: number, options: ConvOptions = {}): string {
    return super.conv(input, out, kernel, { gain: 2, ...options });
  }

  private map(input: string, node: object, of: (value: number, channel: number) => number): string {
    const { shape, data } = this.value(input);
    const plane = shape[2] * shape[3];
    return this.push(
      { inputs: [input], ...node },
      { shape, data: data.map((v, i) => of(v, Math.floor(i / plane) % shape[1])) },
    );
  }

  act(input: string, op: keyof typeof FUNCTIONS): string {
    return this.map(input, { op, ...(op === 'leaky_relu' ? { slope: 0.125 } : {}) }, FUNCTIONS[op]);
  }

  constant(input: string, name: 'mul' | 'add', ofChannels = false): string {
    const count = ofChannels ? this.value(input).shape[1] : 1;
    const constant = tensor(...(ofChannels ? [1, count, 1, 1] : [1]));
    const key = `${this.nodes.length}.c`;
    this.tensors.set(key, constant);
    const of = (c: number) => Number(constant.data[ofChannels ? c : 0]);
    return this.map(input, { op: 'binary', function: name, constant: key, constant_first: true }, (v, c) =>
      name === 'mul' ? v * of(c) : v + of(c),
    );
  }

  /** A factor and an addend for all channels, or one for each. */
  affine(input: string, ofChannels = false): string {
    return this.constant(this.constant(input, 'mul', ofChannels), 'add', ofChannels);
  }

  pool(input: string): string {
    const { shape, data } = this.value(input);
    const [n, channels, height, width] = shape;
    const size = height * width;
    const mean = (at: number) => data.subarray(at * size, (at + 1) * size).reduce((a, b) => a + b, 0) / size;
    const means = Float64Array.from({ length: n * channels }, (_, at) => mean(at));
    return this.push({ op: 'global_avg_pool', inputs: [input] }, { shape: [n, channels, 1, 1], data: means });
  }

  gate(input: string, gates: string): string {
    const { shape, data } = this.value(input);
    const factors = this.value(gates).data;
    const size = shape[2] * shape[3];
    const product = data.map((v, i) => v * factors[Math.floor(i / size)]!);
    return this.push({ op: 'binary', function: 'mul', inputs: [input, gates] }, { shape, data: product });
  }
}

/** A map times what two small convolutions make of its means. */
function squeezeExcite(net: Net, x: string): string {
  const channels = net.value(x).shape[1];
  return net.gate(x, net.act(net.conv(net.act(net.conv(net.pool(x), 8, 1), 'relu'), channels, 1), 'sigmoid'));
}

/** Each convolution, then what its step does besides. */
const CASES: Readonly<Record<string, (net: Net) => string>> = {
  'a sum after an activation (CSPDarknet)': (net) => net.add('x', net.act(net.conv('x', CHANNELS, 3), 'leaky_relu')),
  'the same of a pointwise convolution': (net) => net.add(net.act(net.conv('x', CHANNELS, 1), 'silu'), 'x'),
  'the same of a depthwise convolution': (net) =>
    net.add(net.act(net.conv('x', CHANNELS, 5, { groups: CHANNELS }), 'hardswish'), 'x'),
  'an activation after the sum': (net) => net.act(net.add('x', net.act(net.conv('x', CHANNELS, 3), 'relu')), 'silu'),
  'a factor and an addend after an activation (PP-OCR, HGNetV2)': (net) =>
    net.affine(net.act(net.conv('x', 40, 3), 'hardswish')),
  'of each channel, after a convolution of stride 2': (net) =>
    net.affine(net.act(net.conv('x', 40, 3, { stride: 2 }), 'relu'), true),
  'of groups that share blocks': (net) => net.affine(net.act(net.conv('x', CHANNELS, 3, { groups: 4 }), 'relu'), true),
  'a sum between them': (net) => {
    const lab = net.affine(net.act(net.conv('x', CHANNELS, 1), 'relu'));
    return net.affine(net.act(net.add('x', lab), 'relu'), true);
  },
  'in the middle of an inverted residual': (net) => {
    const wide = net.affine(net.act(net.conv('x', 72, 1), 'relu'));
    const deep = net.affine(net.act(net.conv(wide, 72, 3, { groups: 72 }), 'hardswish'));
    return net.add(net.conv(deep, CHANNELS, 1), 'x');
  },
  'a residual squeeze-excite (PP-OCR)': (net) => {
    const x = net.conv('x', 40, 1);
    return net.act(net.add(x, squeezeExcite(net, x)), 'relu');
  },
  'a squeeze-excite before a projection': (net) => {
    const wide = net.act(net.conv(net.act(net.conv('x', 40, 1), 'silu'), 40, 3, { groups: 40 }), 'silu');
    return net.add(net.conv(squeezeExcite(net, wide), CHANNELS, 1), 'x');
  },
  'the same of few weights': (net) => {
    const wide = net.act(net.conv('x', 39, 1), 'relu');
    return net.act(net.conv(squeezeExcite(net, wide), 13, 1), 'relu');
  },
  'the same of a narrow map': (net) => {
    const wide = net.act(net.conv('x', 72, 3, { stride: 2 }), 'hardswish');
    return net.act(net.conv(squeezeExcite(net, wide), 40, 1), 'relu');
  },
  'the same of a narrow map and many weights': (net) => {
    const wide = net.act(net.conv('x', 1030, 1, { stride: 2 }), 'hardswish');
    return net.act(net.conv(squeezeExcite(net, wide), 270, 1), 'relu');
  },
};

/** What `explain` says of the last step of each case. */
const TOLD: Readonly<Record<keyof typeof CASES, string>> = {
  'a sum after an activation (CSPDarknet)': 'leakyRelu, sum',
  'an activation after the sum': 'relu, sum, silu',
  'a factor and an addend after an activation (PP-OCR, HGNetV2)': 'hardswish, scale and shift',
  'a sum between them': 'relu, scale and shift, sum, relu, scale and shift',
  'in the middle of an inverted residual': 'sum',
  'a residual squeeze-excite (PP-OCR)': 'sum, relu',
};

async function run(
  { nodes, tensors, x }: Net,
  outputs: readonly string[],
  threads: number,
  precision: 'f32' | 'fast' = 'f32',
) {
  const graph = { input: 'x', output: outputs[0], outputs, inputShape: [CHANNELS, ...SIZE], nodes };
  await using engine = await Engine.create({ graph: graph as unknown as Graph, tensors }, { threads, precision });
  const results = await engine.runAll({ x });
  return { results, steps: engine.explain(x.shape) };
}

/** What is scaled by a squeeze-excite: the map, or the fewer weights that read it. */
const GATED: Readonly<Record<keyof typeof CASES, RegExp>> = {
  'a squeeze-excite before a projection': /^gate \+ direct/,
  'the same of few weights': /^gated weights \+ direct/,
  'the same of a narrow map': /^gate \+ direct/,
  'the same of a narrow map and many weights': /^gate \+ direct/,
};

describe.each(availableIsas())('%s', (isa) => {
  test.each(Object.entries(CASES))('%s', async (name, build) => {
    const net = new Net();
    const output = build(net);
    await withIsa(isa, async () => {
      for (const threads of [1, 3]) {
        const { results, steps } = await run(net, [output], threads);
        expect(peakError(results.get(output)!.data as Float32Array, net.value(output).data)).toBeLessThan(2e-6);
        // Every other step is a convolution, its pool or its gate.
        const others = steps.filter(
          ({ macs, kernel }) => macs === 0 && !/pool|binary|ingest|deliver|split/.test(kernel),
        );
        expect(others).toEqual([]);
        if (name in GATED) expect(steps.at(-2)!.kernel).toMatch(GATED[name]!);
        if (name in TOLD && isa === 'avx512') expect(steps.at(-2)!.epilogue).toBe(TOLD[name]);
      }
      if (!(name in GATED)) return;
      const { results, steps } = await run(net, [output], 2, 'fast');
      expect(peakError(results.get(output)!.data as Float32Array, net.value(output).data)).toBeLessThan(1e-4);
      // Matrix tiles read many weights once, and the map as it was scaled before.
      expect(steps.at(-2)!.kernel).toMatch(name.endsWith('many weights') ? /^gate|^tiles/ : /^gate/);
    });
  });

  test.each(Object.entries(CASES))('%s, of values that are not finite', async (_, build) => {
    const net = new Net((data) => {
      const plane = SIZE[0] * SIZE[1];
      for (const [i, value] of [Number.NaN, Infinity, -Infinity, -3e38].entries())
        data[i * 3 * plane + 40 + 2 * i] = value;
    });
    const output = build(net);
    await withIsa(isa, async () => {
      const fused = (await run(net, [output], 1)).results.get(output)!;
      const ids = net.nodes.map(({ id }) => id);
      const apart = (await run(net, [output, ...ids.filter((id) => id !== output)], 1)).results.get(output)!;
      const kindOf = (value: number | bigint) => (Number.isFinite(value) ? 'finite' : String(value));
      expect(Array.from(fused.data, kindOf)).toEqual(Array.from(apart.data, kindOf));
    });
  });
});
