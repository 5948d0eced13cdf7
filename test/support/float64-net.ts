import type { GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import type { Float64Image } from './float64-image';
import type { Random } from './random';
import { referenceConv2d } from './reference-conv';

export interface ConvOptions {
  readonly groups?: number;
  readonly stride?: number;
  /** Of weights, whose sums grow with the inputs of an output: times the root of their number. Default: as they come. */
  readonly gain?: number;
}

/** A network of images, made node by node, with what each of its values is by the definition. Its input is `x`. */
export class Float64Net {
  readonly nodes: GraphNode[] = [];
  readonly tensors = new Map<string, Tensor>();
  private readonly values = new Map<string, Float64Image>();

  constructor(
    readonly x: Tensor,
    private readonly random: Random,
  ) {
    const [n = 0, channels = 0, height = 0, width = 0] = x.shape;
    const shape = [n, channels, height, width] as const;
    this.values.set('x', { shape, data: Float64Array.from(x.data as Float32Array) });
  }

  value(id: string): Float64Image {
    return this.values.get(id)!;
  }

  protected push(node: object, value: Float64Image): string {
    const id = `v${this.nodes.length}`;
    this.nodes.push({ ...node, id } as GraphNode);
    this.values.set(id, value);
    return id;
  }

  /** Padded so that a stride of 1 keeps the size. */
  conv(input: string, out: number, kernel = 1, { groups = 1, stride = 1, gain }: ConvOptions = {}): string {
    const { shape, data } = this.value(input);
    const per = shape[1] / groups;
    const count = per * kernel * kernel;
    const scale = gain === undefined ? 1 : gain / Math.sqrt(count);
    const weight = this.random.floats(out * count).map((value) => value * scale);
    const bias = this.random.floats(out);
    const key = `${this.nodes.length}`;
    const weightShape = [out, per, kernel, kernel];
    this.tensors.set(`${key}.w`, Tensor.f32(weightShape, weight)).set(`${key}.b`, Tensor.f32([out], bias));
    const pad = (kernel - 1) / 2;
    const geometry = { stride: [stride, stride], dilation: [1, 1], groups } as const;
    const made = referenceConv2d({
      ...{ input: data, inputShape: shape, weight, weightShape, bias, padding: [pad, pad, pad, pad] },
      ...geometry,
    });
    const node = { op: 'conv2d', inputs: [input], weight: `${key}.w`, bias: `${key}.b`, padding: [pad, pad] };
    return this.push({ ...node, ...geometry }, { shape: made.shape as Float64Image['shape'], data: made.data });
  }

  add(first: string, second: string): string {
    const [a, b] = [this.value(first), this.value(second)];
    return this.push({ op: 'add', inputs: [first, second] }, { ...a, data: a.data.map((v, i) => v + b.data[i]!) });
  }
}
