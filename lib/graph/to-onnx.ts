import { create } from '@bufbuild/protobuf';
import { RepfuseError } from '../errors';
import type { OnnxModel } from '../onnx';
import { floatAttribute, intAttribute, intsAttribute } from '../onnx/attributes';
import {
  type Attribute,
  GraphSchema,
  ModelSchema,
  type Node,
  NodeSchema,
  OperatorSetSchema,
  type Tensor as TensorProto,
  ValueInfoSchema,
} from '../onnx/schema/onnx_pb';
import { protoOf } from '../onnx/values';
import { stageWeight } from '../ops/branch';
import { toPadding4 } from '../ops/geometry';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { type Graph, type GraphNode, outputsOf } from './graph';
import { inferShapes } from './shapes';
import { tensorToOnnx } from './tensor-to-onnx';

const OLDEST_OPSET = 14;
const NEWEST_OPSET = 28;

/** A network as an ONNX model. @throws as `exportOnnx` */
export function toOnnx(graph: Graph, tensors: ReadonlyMap<string, Tensor>, opset: number): OnnxModel {
  if (!Number.isSafeInteger(opset) || opset < OLDEST_OPSET || opset > NEWEST_OPSET) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an integer from ${OLDEST_OPSET} to ${NEWEST_OPSET} for opset but received ${opset}`,
    );
  }
  if (graph.inputShape === undefined)
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      'Expected inputShape in a graph that is written as ONNX but found none',
    );
  const one = inferShapes(graph, [1, ...graph.inputShape], tensors);
  const two = inferShapes(graph, [2, ...graph.inputShape], tensors);
  const writer = new Writer(tensors, opset);
  for (const node of graph.nodes) writer.write(node);
  const proto = create(ModelSchema, {
    irVersion: IR_OF_OPSET.find(([first]) => opset >= first)![1],
    producerName: 'repfuse',
    opsetImport: [create(OperatorSetSchema, { domain: '', version: BigInt(opset) })],
    graph: create(GraphSchema, {
      name: 'network',
      node: writer.nodes,
      initializer: [...writer.initializers.values()],
      input: [valueInfo(graph.input, ['N', ...graph.inputShape])],
      output: outputsOf(graph).map((id) => valueInfo(id, sizesOf(one.get(id)!, two.get(id)!))),
    }),
  });
  return { proto: proto as OnnxModel['proto'], opset };
}

/** The IR version that came with an operator set, newest first. */
const IR_OF_OPSET = [
  [28, 14n],
  [25, 13n],
  [24, 12n],
  [23, 11n],
  [21, 10n],
  [19, 9n],
  [15, 8n],
  [14, 7n],
] as const;

/** Sizes by what one image and two make of them: fixed ones, 'N' for the batch, null for what depends on it otherwise. */
function sizesOf(one: readonly number[], two: readonly number[]): (number | string | null)[] {
  return one.map((size, axis) => (two[axis] === size ? size : size === 1 && two[axis] === 2 ? 'N' : null));
}

function valueInfo(name: string, sizes: readonly (number | string | null)[]) {
  const dim = sizes.map((size) => {
    if (size === null) return {};
    if (typeof size === 'string') return { value: { case: 'dimParam' as const, value: size } };
    return { value: { case: 'dimValue' as const, value: BigInt(size) } };
  });
  return create(ValueInfoSchema, { name, type: { tensorType: { elemType: 1, shape: { dim } } } });
}

type Geometry = Pick<Extract<GraphNode, { op: 'conv2d' }>, 'stride' | 'padding' | 'dilation' | 'groups'>;

class Writer {
  readonly nodes: Node[] = [];
  readonly initializers = new Map<string, TensorProto>();

  constructor(
    private readonly tensors: ReadonlyMap<string, Tensor>,
    private readonly opset: number,
  ) {}

  write(node: GraphNode): void {
    const [x, other] = node.inputs as [string, string | undefined];
    const { id } = node;
    switch (node.op) {
      case 'conv2d': {
        const weight = this.tensors.get(node.weight)!;
        const bias = node.bias === null ? [] : [this.weight(node.bias)];
        this.conv(id, [x, this.weight(node.weight), ...bias], weight, node);
        break;
      }
      case 'conv_transpose2d': {
        const bias = node.bias === null ? [] : [this.weight(node.bias)];
        const attributes = this.geometry(this.tensors.get(node.weight)!, node);
        const padding = intsAttribute('output_padding', node.output_padding);
        this.add('ConvTranspose', [x, this.weight(node.weight), ...bias], id, [...attributes, padding]);
        break;
      }
      case 'identity_conv1x1': {
        const stored = this.tensors.get(node.weight)!;
        const geometry = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: node.groups } as const;
        const stage = { ...geometry, kind: 'conv2d', padding: [0, 0, 0, 0], plusIdentity: true } as const;
        const whole = stageWeight({ ...stage, weight: Tensor.f32(stored.shape, toFloat32(stored)) });
        this.conv(id, [x, this.tensor(`${id}.weight`, whole)], whole, geometry);
        break;
      }
      case 'batch_norm':
        this.batchNorm(id, x, node);
        break;
      case 'bn_pad': {
        // Zeros before it, which it makes BN(0).
        const framed = `${id}.frame`;
        this.pad(framed, x, [node.pad, node.pad, node.pad, node.pad]);
        this.batchNorm(id, framed, node);
        break;
      }
      case 'avg_pool2d':
        this.add('AveragePool', [x], id, [
          ...window(node),
          intAttribute('count_include_pad', node.count_include_pad ? 1 : 0),
        ]);
        break;
      case 'max_pool2d':
        this.add('MaxPool', [x], id, window(node));
        break;
      case 'crop':
        this.pad(id, x, [-node.rows[0], -node.cols[0], -node.rows[1], -node.cols[1]]);
        break;
      case 'linear': {
        const bias = node.bias === null ? [] : [this.weight(node.bias)];
        this.add('Gemm', [x, this.weight(node.weight), ...bias], id, [intAttribute('transB', 1)]);
        break;
      }
      case 'silu':
        this.add('Sigmoid', [x], `${id}.sigmoid`);
        this.add('Mul', [x, `${id}.sigmoid`], id);
        break;
      case 'squeeze_excite':
        this.add('GlobalAveragePool', [x], `${id}.mean`);
        this.pointwise(`${id}.reduced`, `${id}.mean`, node.reduce);
        this.add('Relu', [`${id}.reduced`], `${id}.relu`);
        this.pointwise(`${id}.expanded`, `${id}.relu`, node.expand);
        this.add('Sigmoid', [`${id}.expanded`], `${id}.gate`);
        this.add('Mul', [x, `${id}.gate`], id);
        break;
      case 'add':
        this.add('Add', [x, other!], id);
        break;
      case 'constant':
        // An initializer is a value by its own name.
        if (this.weight(node.tensor) !== id) this.add('Identity', [node.tensor], id);
        break;
      case 'global_avg_pool':
      case 'hardswish':
      case 'relu':
      case 'sigmoid':
        this.add(PLAIN[node.op], [x], id);
        break;
      default: {
        const { opType, inputs, attributes = [] } = tensorToOnnx(node, this.opset);
        const names = inputs.map((input, i) => {
          if (input === null || typeof input === 'string') return input ?? '';
          return input instanceof Tensor ? this.tensor(`${id}.input${i}`, input) : this.weight(input.key);
        });
        this.add(opType, names, id, [...attributes]);
      }
    }
  }

  private add(opType: string, input: readonly string[], output: string, attribute: Attribute[] = []): void {
    this.nodes.push(create(NodeSchema, { opType, name: output, input: [...input], output: [output], attribute }));
  }

  /** A tensor of the state dict, as float32, under its own name. */
  private weight(key: string): string {
    const tensor = this.tensors.get(key)!;
    return this.tensor(key, tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor)));
  }

  private tensor(name: string, tensor: Tensor): string {
    if (!this.initializers.has(name)) this.initializers.set(name, protoOf(name, tensor));
    return name;
  }

  private conv(id: string, inputs: readonly string[], weight: Tensor, geometry: Geometry): void {
    this.add('Conv', inputs, id, this.geometry(weight, geometry));
  }

  private geometry({ shape }: Tensor, { stride, padding, dilation, groups }: Geometry): Attribute[] {
    return [
      intsAttribute('dilations', dilation),
      intAttribute('group', groups),
      intsAttribute('kernel_shape', shape.slice(2)),
      intsAttribute('pads', toPadding4(padding)),
      intsAttribute('strides', stride),
    ];
  }

  private pointwise(id: string, input: string, prefix: string): void {
    const key = `${prefix}.weight`;
    const geometry = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
    this.conv(id, [input, this.weight(key), this.weight(`${prefix}.bias`)], this.tensors.get(key)!, geometry);
  }

  private batchNorm(
    id: string,
    input: string,
    { prefix, eps, affine }: Pick<Extract<GraphNode, { op: 'batch_norm' }>, 'prefix' | 'eps' | 'affine'>,
  ): void {
    const channels = this.tensors.get(`${prefix}.running_mean`)!.shape;
    const constant = (name: string, value: number) =>
      this.tensor(`${id}.${name}`, Tensor.f32(channels, new Float32Array(channels[0]!).fill(value)));
    const scale = affine ? this.weight(`${prefix}.weight`) : constant('ones', 1);
    const shift = affine ? this.weight(`${prefix}.bias`) : constant('zeros', 0);
    const statistics = [this.weight(`${prefix}.running_mean`), this.weight(`${prefix}.running_var`)];
    this.add('BatchNormalization', [input, scale, shift, ...statistics], id, [floatAttribute('epsilon', eps)]);
  }

  /** Zeros around a map; negative sides crop. */
  private pad(id: string, input: string, [top, left, bottom, right]: readonly [number, number, number, number]): void {
    const pads = BigInt64Array.from([0, 0, top, left, 0, 0, bottom, right], BigInt);
    this.add('Pad', [input, this.tensor(`${id}.pads`, new Tensor('I64', [8], pads))], id);
  }
}

const PLAIN = {
  global_avg_pool: 'GlobalAveragePool',
  hardswish: 'HardSwish',
  relu: 'Relu',
  sigmoid: 'Sigmoid',
} as const;

function window({
  kernel,
  stride,
  padding,
  dilation,
  ceil_mode = false,
}: Omit<Extract<GraphNode, { op: 'max_pool2d' }>, 'id' | 'inputs' | 'op'>): Attribute[] {
  return [
    intsAttribute('kernel_shape', kernel),
    intsAttribute('strides', stride),
    intsAttribute('pads', toPadding4(padding)),
    ...(dilation === undefined ? [] : [intsAttribute('dilations', dilation)]),
    intAttribute('ceil_mode', ceil_mode ? 1 : 0),
  ];
}
