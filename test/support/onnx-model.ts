import { create } from '@bufbuild/protobuf';
import type { OnnxModel } from '../../lib/onnx/model';
import {
  type Attribute,
  Attribute_Type,
  AttributeSchema,
  type Graph,
  GraphSchema,
  ModelSchema,
  type Node,
  NodeSchema,
  OperatorSetSchema,
  ValueInfoSchema,
} from '../../lib/onnx/schema/onnx_pb';
import { protoOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';

type AttributeValue = number | string | readonly number[] | Tensor | Graph;

/** A node; numbers become ints where they are whole, unless their name is a float's. */
export function node(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
): Node {
  return create(NodeSchema, {
    opType,
    name: `${opType}:${output[0]}`,
    input: [...input],
    output: [...output],
    attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
  });
}

const FLOATS = ['epsilon', 'momentum', 'alpha', 'beta', 'value', 'min', 'max', 'ratio'];

function attribute(name: string, value: AttributeValue): Attribute {
  if (value instanceof Tensor)
    return create(AttributeSchema, { name, type: Attribute_Type.TENSOR, t: protoOf('', value) });
  if (typeof value === 'string')
    return create(AttributeSchema, { name, type: Attribute_Type.STRING, s: Buffer.from(value) });
  if (typeof value === 'number')
    return FLOATS.includes(name)
      ? create(AttributeSchema, { name, type: Attribute_Type.FLOAT, f: value })
      : create(AttributeSchema, { name, type: Attribute_Type.INT, i: BigInt(value) });
  if ('node' in value) return create(AttributeSchema, { name, type: Attribute_Type.GRAPH, g: value });
  return create(AttributeSchema, { name, type: Attribute_Type.INTS, ints: value.map(BigInt) });
}

/** A value of float32, or of a shape that the graph leaves open (null). */
export function value(name: string, shape: readonly (number | null)[]) {
  return create(ValueInfoSchema, {
    name,
    type: {
      tensorType: {
        elemType: 1,
        shape: {
          dim: shape.map((size) => ({
            value:
              size === null
                ? { case: 'dimParam' as const, value: 'n' }
                : { case: 'dimValue' as const, value: BigInt(size) },
          })),
        },
      },
    },
  });
}

export function model(
  nodes: readonly Node[],
  tensors: Readonly<Record<string, Tensor>>,
  {
    inputs,
    outputs,
    opset = 17,
  }: { inputs: Readonly<Record<string, readonly (number | null)[]>>; outputs: readonly string[]; opset?: number },
): OnnxModel {
  const graph = create(GraphSchema, {
    name: 'g',
    node: [...nodes],
    initializer: Object.entries(tensors).map(([name, tensor]) => protoOf(name, tensor)),
    input: Object.entries(inputs).map(([name, shape]) => value(name, shape)),
    output: outputs.map((name) => create(ValueInfoSchema, { name })),
  });
  const proto = create(ModelSchema, {
    irVersion: 8n,
    opsetImport: [create(OperatorSetSchema, { domain: '', version: BigInt(opset) })],
    graph,
  });
  return { proto: proto as OnnxModel['proto'], opset };
}
