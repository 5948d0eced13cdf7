import { RepfuseError } from '../errors';
import type { OnnxModel } from '../onnx';
import { describeNode, floatOf, intOf, intsOf, stringOf } from '../onnx/attributes';
import { Constants } from '../onnx/constants';
import type { Node } from '../onnx/schema/onnx_pb';
import { numbersOf, transposed } from '../onnx/values';
import { Wiring } from '../onnx/wiring';
import type { Tensor } from '../tensor/tensor';
import type { Graph, GraphNode } from './graph';

type Two = readonly [number, number];

/**
 * An ONNX model as a graph with its weights: of one input, an image batch, one output, and the operators of plain convolutional networks.
 *
 * @throws ERR_REPFUSE_GRAPH naming the first node that a graph cannot hold, and why
 */
export function fromOnnx(model: OnnxModel): { graph: Graph; tensors: ReadonlyMap<string, Tensor> } {
  return new Reader(model).read();
}

class Reader {
  private readonly nodes: GraphNode[] = [];
  private readonly tensors = new Map<string, Tensor>();
  private readonly wiring: Wiring;
  private readonly constants: Constants;
  /** Values that are other ones under another name. */
  private readonly same = new Map<string, string>();

  constructor(private readonly model: OnnxModel) {
    this.wiring = new Wiring(model.proto.graph);
    this.constants = new Constants(model.proto.graph, this.wiring);
  }

  read(): { graph: Graph; tensors: ReadonlyMap<string, Tensor> } {
    const { graph } = this.model.proto;
    const initializers = new Set(graph.initializer.map(({ name }) => name));
    const inputs = graph.input.filter(({ name }) => !initializers.has(name));
    if (inputs.length !== 1 || graph.output.length !== 1) {
      throw new RepfuseError(
        'ERR_REPFUSE_GRAPH',
        `Expected an ONNX model of one input and one output to run but received ${inputs.length} and ${graph.output.length}`,
      );
    }
    for (const node of graph.node) if (!this.isAside(node)) this.take(node);
    const [input] = inputs as [(typeof inputs)[0]];
    const [, ...sizes] = (input.type?.tensorType?.shape?.dim ?? []).map(({ value }) =>
      value.case === 'dimValue' ? Number(value.value) : 0,
    );
    const inputShape =
      sizes.length === 3 && sizes.every((size) => size > 0) ? (sizes as [number, number, number]) : undefined;
    const output = this.value(graph.output[0]!.name);
    return {
      graph: { input: input.name, output, nodes: this.nodes, ...(inputShape === undefined ? {} : { inputShape }) },
      tensors: this.tensors,
    };
  }

  /** Constants, and arithmetic on shapes, whose readers look them up. */
  private isAside({ opType, output }: Node): boolean {
    return opType === 'Shape' || this.isOfShape(output[0] ?? '') || this.constants.get(output[0] ?? '') !== undefined;
  }

  private isOfShape(value: string): boolean {
    const node = this.wiring.producer(value);
    if (node === undefined) return false;
    if (node.opType === 'Shape') return true;
    const read = SHAPE_JOINS.has(node.opType) ? node.input : SHAPE_PARTS.has(node.opType) ? node.input.slice(0, 1) : [];
    return read.some((input) => this.isOfShape(input));
  }

  private take(node: Node): void {
    const take = node.domain === '' || node.domain === 'ai.onnx' ? OPERATORS[node.opType] : undefined;
    if (take === undefined) throw refused(node, 'its operator is none that repfuse runs');
    take(this, node);
  }

  /** The value behind a name. */
  value(name: string): string {
    return this.same.get(name) ?? name;
  }

  /** The result of `node` is a value that is there already. */
  alias(node: Node, value = node.input[0]!): void {
    this.same.set(node.output[0]!, this.value(value));
  }

  constant(value: string): Tensor | undefined {
    return this.constants.get(value);
  }

  push(node: GraphNode): void {
    this.nodes.push({ ...node, inputs: node.inputs.map((input) => this.value(input)) } as GraphNode);
  }

  /** The key of a constant input, which becomes a weight. */
  weight(node: Node, index: number, key = node.input[index]!): string {
    const tensor = this.constants.get(node.input[index]!);
    if (tensor === undefined) throw refused(node, `its input ${JSON.stringify(node.input[index])} is no constant`);
    this.tensors.set(key, tensor);
    return key;
  }

  optional(node: Node, index: number): string | null {
    return (node.input[index] ?? '') === '' ? null : this.weight(node, index);
  }

  tensor(key: string): Tensor {
    return this.tensors.get(key)!;
  }

  set(key: string, tensor: Tensor): string {
    this.tensors.set(key, tensor);
    return key;
  }

  producer(value: string): Node | undefined {
    return this.wiring.producer(value);
  }

  /** Whether a Reshape keeps images apart and makes each one vector. */
  flattens(node: Node): boolean {
    const shape = this.constants.get(node.input[1]!);
    const [batch] = this.model.proto.graph.input[0]!.type?.tensorType?.shape?.dim ?? [];
    if (shape !== undefined) {
      const [first, ...rest] = numbersOf(shape);
      return (
        rest.length === 1 && (first === 0 || (batch?.value.case === 'dimValue' && first === Number(batch.value.value)))
      );
    }
    const joined = this.wiring.producer(node.input[1]!);
    return joined?.opType === 'Concat' && joined.input.length === 2 && this.isBatch(joined.input[0]!);
  }

  /** Whether a value is the first of the sizes of another, as exporters compute it. */
  private isBatch(value: string): boolean {
    const node = this.wiring.producer(value);
    if (node === undefined) return false;
    if (node.opType === 'Unsqueeze' || node.opType === 'Cast' || node.opType === 'Reshape')
      return this.isBatch(node.input[0]!);
    if (node.opType === 'Gather')
      return (
        this.wiring.producer(node.input[0]!)?.opType === 'Shape' &&
        Number(this.constants.get(node.input[1]!)?.data[0] ?? 1) === 0
      );
    return node.opType === 'Shape' && intOf(node, 'start', 0) === 0 && intOf(node, 'end', 0) === 1;
  }

  axesOf(node: Node): readonly number[] {
    const given = node.input[1] === undefined ? undefined : this.constants.get(node.input[1]);
    return given === undefined ? (intsOf(node, 'axes') ?? []) : numbersOf(given);
  }
}

/** What exporters do to shapes: with several, and to one. */
const SHAPE_JOINS = new Set(['Add', 'Concat', 'Div', 'Mul', 'Sub']);
const SHAPE_PARTS = new Set(['Cast', 'Gather', 'Reshape', 'Slice', 'Squeeze', 'Unsqueeze']);

type Take = (reader: Reader, node: Node) => void;

const OPERATORS: Readonly<Record<string, Take>> = {
  Identity: (reader, node) => reader.alias(node),
  Dropout: (reader, node) => reader.alias(node),
  Conv(reader, node) {
    const weight = reader.weight(node, 1);
    if (reader.tensor(weight).shape.length !== 4) throw refused(node, 'it does not convolve images');
    if (!['NOTSET', 'VALID', ''].includes(stringOf(node, 'auto_pad', 'NOTSET')))
      throw refused(node, `its auto_pad is ${stringOf(node, 'auto_pad', '')}`);
    reader.push({
      ...about(node, 'conv2d'),
      weight,
      bias: reader.optional(node, 2),
      stride: two(node, 'strides', 1),
      padding: padding(node),
      dilation: two(node, 'dilations', 1),
      groups: intOf(node, 'group', 1),
    });
  },
  BatchNormalization(reader, node) {
    if (intOf(node, 'training_mode', 0) !== 0) throw refused(node, 'it normalises by batch statistics');
    const prefix = node.output[0]!;
    for (const [i, name] of ['weight', 'bias', 'running_mean', 'running_var'].entries())
      reader.weight(node, i + 1, `${prefix}.${name}`);
    reader.push({
      ...about(node, 'batch_norm'),
      prefix,
      eps: floatOf(node, 'epsilon', Math.fround(1e-5)),
      affine: true,
    });
  },
  Relu: plain('relu'),
  Sigmoid: plain('sigmoid'),
  HardSwish: plain('hardswish'),
  GlobalAveragePool: plain('global_avg_pool'),
  ReduceMean(reader, node) {
    const axes = reader.axesOf(node).map((axis) => (axis < 0 ? axis + 4 : axis));
    if ([...axes].sort().join() !== '2,3') throw refused(node, `it means over the axes ${axes.join(', ')}`);
    if (intOf(node, 'keepdims', 1) !== 0) plain('global_avg_pool')(reader, node);
    else {
      const mean = `${node.output[0]}.mean`;
      reader.push({ id: mean, op: 'global_avg_pool', inputs: [node.input[0]!] });
      reader.push({ id: node.output[0]!, op: 'flatten', inputs: [mean] });
    }
  },
  MaxPool: (reader, node) => reader.push({ ...about(node, 'max_pool2d'), ...window(node) }),
  AveragePool: (reader, node) =>
    reader.push({
      ...about(node, 'avg_pool2d'),
      ...window(node),
      count_include_pad: intOf(node, 'count_include_pad', 0) !== 0,
    }),
  Add(reader, node) {
    const [first, second] = node.input as [string, string];
    for (const [value, other] of [
      [first, second],
      [second, first],
    ] as const) {
      const constant = reader.constant(other);
      if (constant === undefined) continue;
      // Exporters begin a sum of branches with 0.
      if (!numbersOf(constant).every((each) => each === 0) || constant.size !== 1)
        throw refused(node, 'it adds a constant');
      reader.alias(node, value);
      return;
    }
    reader.push({ ...about(node, 'add'), inputs: [first, second] });
  },
  Sum(reader, node) {
    const [first, ...rest] = node.input as [string, ...string[]];
    if (rest.length === 0) {
      reader.alias(node);
      return;
    }
    let sum = first;
    for (const [i, value] of rest.entries()) {
      const id = i === rest.length - 1 ? node.output[0]! : `${node.output[0]}.${i}`;
      reader.push({ id, op: 'add', inputs: [sum, value] });
      sum = id;
    }
  },
  Mul(reader, node) {
    const [first, second] = node.input as [string, string];
    for (const [x, gate] of [
      [first, second],
      [second, first],
    ] as const) {
      const sigmoid = reader.producer(gate);
      if (sigmoid?.opType !== 'Sigmoid') continue;
      if (reader.value(sigmoid.input[0]!) === reader.value(x)) {
        reader.push({ id: node.output[0]!, op: 'silu', inputs: [x] });
        return;
      }
    }
    throw refused(node, 'it multiplies two values');
  },
  Flatten(reader, node) {
    if (intOf(node, 'axis', 1) !== 1) throw refused(node, 'it flattens from another axis than 1');
    plain('flatten')(reader, node);
  },
  Reshape(reader, node) {
    if (!reader.flattens(node)) throw refused(node, 'it does more than to make a vector of each image');
    plain('flatten')(reader, node);
  },
  Gemm(reader, node) {
    if (floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1 || intOf(node, 'transA', 0) !== 0)
      throw refused(node, 'it has an alpha, a beta or a transA');
    const key = reader.weight(node, 1);
    const weight =
      intOf(node, 'transB', 0) !== 0 ? key : reader.set(`${node.output[0]}.weight`, transposed(reader.tensor(key)));
    reader.push({ ...about(node, 'linear'), weight, bias: reader.optional(node, 2) });
  },
  Softmax(reader, node) {
    const axis = intOf(node, 'axis', -1);
    if (axis !== 1 && axis !== -1) throw refused(node, `its axis is ${axis}`);
    plain('softmax')(reader, node);
  },
};

function plain(op: 'flatten' | 'global_avg_pool' | 'hardswish' | 'relu' | 'sigmoid' | 'softmax'): Take {
  return (reader, node) => reader.push(about(node, op));
}

function about<Op extends GraphNode['op']>(node: Node, op: Op) {
  return { id: node.output[0]!, op, inputs: [node.input[0]!] } as const;
}

function two(node: Node, name: string, otherwise: number): Two {
  const values = intsOf(node, name) ?? [otherwise, otherwise];
  if (values.length !== 2) throw refused(node, `its ${name} are not those of images`);
  return values as unknown as Two;
}

function padding(node: Node): Two {
  const [top, left, bottom, right] = intsOf(node, 'pads') ?? [0, 0, 0, 0];
  if (top !== bottom || left !== right) throw refused(node, 'its padding differs from side to side');
  return [top!, left!];
}

function window(node: Node) {
  if ((intsOf(node, 'dilations') ?? []).some((step) => step !== 1)) throw refused(node, 'its windows are dilated');
  if (!['NOTSET', 'VALID', ''].includes(stringOf(node, 'auto_pad', 'NOTSET')))
    throw refused(node, 'it has an auto_pad');
  const kernel = two(node, 'kernel_shape', 1);
  return {
    kernel,
    stride: two(node, 'strides', 1),
    padding: padding(node),
    ceil_mode: intOf(node, 'ceil_mode', 0) !== 0,
  };
}

function refused(node: Node, reason: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `The ONNX node ${describeNode(node)} cannot be run: ${reason}`, {
    node: node.name || node.output[0],
    operator: node.opType,
  });
}
