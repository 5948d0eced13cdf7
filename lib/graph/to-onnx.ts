import { create } from '@bufbuild/protobuf';
import { RepfuseError } from '../errors';
import type { OnnxModel } from '../onnx';
import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from '../onnx/attributes';
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
import { onnxTypeOf, protoOf } from '../onnx/values';
import type { ComputedDType } from '../tensor/dtype';
import { asFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { type Graph, type GraphNode, inputsOf, outputsOf } from './graph';
import { isOpen } from './open-sizes';
import { operatorOf } from './operators';
import { nodeError, type OnnxContext, type OnnxNode, type OnnxTwin, Unwritable } from './operators/operator';
import { inferShapes } from './shapes';

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
  if (graph.inputShape === undefined && graph.inputs === undefined)
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      'Expected inputShape in a graph that is written as ONNX but found none',
    );
  const one = inferShapes(graph, sampleShapes(graph, 1), tensors);
  const two = inferShapes(graph, sampleShapes(graph, 2), tensors);
  const writer = new Writer(tensors, opset);
  for (const { id, type = 'F32' } of inputsOf(graph)) writer.castInput(id, type);
  for (const node of graph.nodes) writer.write(node, graph.outputTypes);
  const proto = create(ModelSchema, {
    irVersion: IR_OF_OPSET.find(([first]) => opset >= first)![1],
    producerName: 'repfuse',
    opsetImport: [create(OperatorSetSchema, { domain: '', version: BigInt(opset) })],
    graph: create(GraphSchema, {
      name: 'network',
      node: writer.nodes,
      initializer: [...writer.initializers.values()],
      input: inputsOf(graph).map(({ id, shape, type }) => valueInfo(id, shape, type)),
      output: outputsOf(graph).map((id) => {
        const [first, second] = [one.get(id), two.get(id)];
        return valueInfo(id, first && second && sizesOf(first, second), graph.outputTypes?.[id]);
      }),
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

/** Shapes of the inputs with sizes for those that are open: `count` images, and multiples of it in their place for others. */
function sampleShapes(graph: Graph, count: number): ReadonlyMap<string, readonly number[]> {
  const open = new Map<string, number>();
  const shapes = inputsOf(graph).map(({ id, shape }) => {
    const known = shape.map((size, axis) => {
      if (typeof size === 'number') return size;
      if (!open.has(size)) open.set(size, axis === 0 ? count : 64 * (count + open.size));
      return open.get(size)!;
    });
    return [id, known] as const;
  });
  return new Map(shapes);
}

function valueInfo(name: string, sizes: readonly (number | string | null)[] | undefined, type: ComputedDType = 'F32') {
  const elemType = onnxTypeOf(type);
  if (sizes === undefined) return create(ValueInfoSchema, { name, type: { tensorType: { elemType } } });
  const dim = sizes.map((size) => {
    if (size === null) return {};
    if (typeof size === 'string') return { value: { case: 'dimParam' as const, value: size } };
    return { value: { case: 'dimValue' as const, value: BigInt(size) } };
  });
  return create(ValueInfoSchema, { name, type: { tensorType: { elemType, shape: { dim } } } });
}

class Writer {
  readonly nodes: Node[] = [];
  readonly initializers = new Map<string, TensorProto>();
  /** Of values that have another name than their id. */
  private readonly names = new Map<string, string>();
  private readonly context: OnnxContext;

  constructor(
    private readonly tensors: ReadonlyMap<string, Tensor>,
    opset: number,
  ) {
    this.context = { opset, weight: this.float32, shapeOf: (key) => tensors.get(key)!.shape };
  }

  /** An input becomes float32, as all that a graph computes with. */
  castInput(id: string, type: ComputedDType): void {
    if (type === 'F32') return;
    this.names.set(id, `${id}.float32`);
    this.cast(id, `${id}.float32`, 'F32');
  }

  private cast(input: string, result: string, type: ComputedDType): void {
    const attribute = [intAttribute('to', onnxTypeOf(type))];
    this.nodes.push(create(NodeSchema, { opType: 'Cast', name: result, input: [input], output: [result], attribute }));
  }

  /** @throws ERR_REPFUSE_GRAPH for what ONNX cannot say */
  write(node: GraphNode, outputTypes: Graph['outputTypes'] = {}): void {
    const type = Object.hasOwn(outputTypes, node.id) ? outputTypes[node.id]! : 'F32';
    if (type !== 'F32') this.names.set(node.id, `${node.id}.float32`);
    this.writeNode(node, this.names.get(node.id) ?? node.id);
    if (type !== 'F32') this.cast(`${node.id}.float32`, node.id, type);
  }

  private writeNode(node: GraphNode, id: string): void {
    // Parts are called after the result.
    for (const { opType, inputs, attributes = {}, part, results } of this.asOnnx({ ...node, id })) {
      const result = part === undefined ? id : `${id}.${part}`;
      const names = inputs.map((input, i) => this.name(input, result, i));
      if (names[0] === result) continue; // an initializer is a value by its own name
      const attribute = Object.entries(attributes).map(([name, value]) => attributeOf(name, value));
      const output = results?.map((name) => `${id}.${name}`) ?? [result];
      this.nodes.push(create(NodeSchema, { opType, name: output[0]!, input: names, output, attribute }));
    }
  }

  private asOnnx(node: GraphNode): readonly OnnxNode[] {
    const { onnx } = operatorOf(node);
    if (isOpen(node)) throw nodeError(node, 'ONNX is not written of sizes that follow from those of the inputs');
    if (typeof onnx !== 'function') return [written(onnx, node)];
    try {
      return [onnx(node, this.context)].flat();
    } catch (error) {
      if (!(error instanceof Unwritable)) throw error;
      throw nodeError(node, `ONNX cannot say ${error.message}`);
    }
  }

  /** The name of an input, which becomes an initializer where it is a tensor. */
  private name(input: OnnxNode['inputs'][number], result: string, index: number): string {
    if (input === null || typeof input === 'string') return this.names.get(input ?? '') ?? input ?? '';
    if ('key' in input) return this.tensor(input.key, this.float32(input.key));
    if (input instanceof Tensor) return this.tensor(`${result}.input${index}`, input);
    return this.tensor(`${result}.${input.name}`, input.tensor);
  }

  private readonly float32 = (key: string): Tensor => asFloat32(this.tensors.get(key)!);

  private tensor(name: string, tensor: Tensor): string {
    if (!this.initializers.has(name)) this.initializers.set(name, protoOf(name, tensor));
    return name;
  }
}

/** An operator of the same name and numbers. */
function written({ type, floats = {} }: OnnxTwin, node: GraphNode): OnnxNode {
  const values = node as unknown as Readonly<Record<string, number>>;
  const attributes = Object.entries(floats).map(([name, [field]]) => [name, { float: values[field]! }] as const);
  return { opType: type, inputs: node.inputs, attributes: Object.fromEntries(attributes) };
}

function attributeOf(name: string, value: NonNullable<OnnxNode['attributes']>[string]): Attribute {
  if (typeof value === 'string') return stringAttribute(name, value);
  if (typeof value !== 'object') return intAttribute(name, Number(value));
  return 'float' in value ? floatAttribute(name, value.float) : intsAttribute(name, value);
}
