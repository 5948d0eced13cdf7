import { intOf } from './attributes';
import type { Constants } from './constants';
import type { Graph, Node } from './schema/onnx_pb';
import { FUNCTIONS_OF_ONE, numbersOnly } from './value-shapes';

/** Operators whose result has the channels of their first input. */
const KEEP_CHANNELS = new Set([
  ...FUNCTIONS_OF_ONE,
  'AveragePool',
  'GlobalAveragePool',
  'GlobalMaxPool',
  'MaxPool',
  'Resize',
  'Upsample',
]);
const ELEMENTWISE = new Set(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Max', 'Min']);

/** What is known of the images [N, C, H, W] in a graph: of its own words, and of what its operators do to channels. */
export class ChannelInference {
  private readonly channels = new Map<string, number>();

  constructor(
    graph: Graph,
    private readonly constants: Constants,
  ) {
    for (const { name, type } of [...graph.input, ...graph.valueInfo, ...graph.output]) {
      const dims = type?.tensorType?.shape?.dim ?? [];
      const { value } = dims[1] ?? {};
      if (dims.length === 4 && value?.case === 'dimValue') this.channels.set(name, Number(value.value));
    }
    for (const node of graph.node) {
      const found = this.made(node);
      if (found !== undefined && node.output[0] !== undefined) this.channels.set(node.output[0], found);
    }
  }

  /** Of a value that is an image; undefined where it is none, or nothing tells them. */
  channelsOf(value: string): number | undefined {
    return this.channels.get(value);
  }

  /** The whole shape, where it does not depend on what the graph leaves open. */
  shapeOf(value: string): readonly number[] | undefined {
    return numbersOnly(this.constants.shapes.get(value));
  }

  /** Height and width, where the graph tells both. */
  sizeOf(value: string): readonly [number, number] | undefined {
    const shape = this.shapeOf(value);
    return shape?.length === 4 ? [shape[2]!, shape[3]!] : undefined;
  }

  private made(node: Node): number | undefined {
    const { opType, input } = node;
    if (opType === 'Conv') {
      const weight = this.constants.get(input[1]!);
      return weight?.shape.length === 4 ? weight.shape[0] : undefined;
    }
    if (opType === 'ConvTranspose') {
      const weight = this.constants.get(input[1]!);
      return weight?.shape.length === 4 ? weight.shape[1]! * intOf(node, 'group', 1) : undefined;
    }
    if (opType === 'Pad' || KEEP_CHANNELS.has(opType)) return this.channels.get(input[0]!);
    const known = input.map((value) => this.channels.get(value));
    if (ELEMENTWISE.has(opType)) {
      const found = known.filter((count) => count !== undefined);
      return found.length > 0 ? found.reduce((most, count) => Math.max(most, count)) : undefined;
    }
    if (opType === 'Concat' && intOf(node, 'axis', 0) === 1 && known.every((count) => count !== undefined))
      return known.reduce((sum, count) => sum! + count!, 0);
    return undefined;
  }
}
