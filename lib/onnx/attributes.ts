import { create } from '@bufbuild/protobuf';
import { RepfuseError } from '../errors';
import {
  type Attribute,
  Attribute_Type,
  AttributeSchema,
  type Node,
  type Tensor as TensorProto,
} from './schema/onnx_pb';

/** Whether a node's domain is that of ONNX's own operators. */
export function isOfOnnx(domain: string): boolean {
  return domain === '' || domain === 'ai.onnx';
}

/** What identifies a node in a message. */
export function describeNode({ name, opType, output }: Node): string {
  return `${opType} ${JSON.stringify(name || output[0] || '')}`;
}

/** An attribute of a type; that of files so old that they do not tell it is what it is read as. @throws ERR_REPFUSE_GRAPH for another */
function find(node: Node, name: string, type: Attribute_Type): Attribute | undefined {
  const attribute = node.attribute.find((each) => each.name === name);
  if (attribute === undefined || attribute.type === type || attribute.type === Attribute_Type.UNDEFINED)
    return attribute;
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected ${Attribute_Type[type]} for ${name} of ${describeNode(node)} but received ${Attribute_Type[attribute.type]}`,
    { node: node.name || node.output[0], operator: node.opType, attribute: name },
  );
}

/** An integer attribute. @throws ERR_REPFUSE_GRAPH if it is beyond 2^53 */
export function intOf(node: Node, name: string, otherwise: number): number {
  const attribute = find(node, name, Attribute_Type.INT);
  return attribute === undefined ? otherwise : safe(node, name, attribute.i);
}

export function intsOf(node: Node, name: string): readonly number[] | undefined {
  return find(node, name, Attribute_Type.INTS)?.ints.map((value) => safe(node, name, value));
}

/** An integer, or several, of any size. */
export function exactInts(node: Node, name: string, type: 'one' | 'list'): readonly bigint[] | undefined {
  if (type === 'list') return find(node, name, Attribute_Type.INTS)?.ints;
  const attribute = find(node, name, Attribute_Type.INT);
  return attribute && [attribute.i];
}

export function floatOf(node: Node, name: string, otherwise: number): number {
  return find(node, name, Attribute_Type.FLOAT)?.f ?? otherwise;
}

export function floatsOf(node: Node, name: string): readonly number[] | undefined {
  return find(node, name, Attribute_Type.FLOATS)?.floats;
}

export function stringOf(node: Node, name: string, otherwise: string): string {
  const attribute = find(node, name, Attribute_Type.STRING);
  return attribute === undefined ? otherwise : Buffer.from(attribute.s).toString('utf8');
}

export function stringsOf(node: Node, name: string): readonly string[] | undefined {
  return find(node, name, Attribute_Type.STRINGS)?.strings.map((text) => Buffer.from(text).toString('utf8'));
}

export function tensorAttribute(node: Node, name: string): TensorProto | undefined {
  return find(node, name, Attribute_Type.TENSOR)?.t;
}

export function hasAttribute(node: Node, name: string): boolean {
  return node.attribute.some((attribute) => attribute.name === name);
}

function safe(node: Node, name: string, value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  // The largest int64 stands for "to the end" in Slice.
  if (value > 0n) return Number.MAX_SAFE_INTEGER;
  if (value < -(2n ** 62n)) return Number.MIN_SAFE_INTEGER;
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected an integer below 2^53 for ${name} of ${describeNode(node)} but received ${value}`,
    { node: node.name, attribute: name },
  );
}

export function intAttribute(name: string, value: number): Attribute {
  return create(AttributeSchema, { name, type: Attribute_Type.INT, i: BigInt(value) });
}

export function intsAttribute(name: string, values: readonly number[]): Attribute {
  return create(AttributeSchema, { name, type: Attribute_Type.INTS, ints: values.map(BigInt) });
}

export function floatAttribute(name: string, value: number): Attribute {
  return create(AttributeSchema, { name, type: Attribute_Type.FLOAT, f: value });
}

export function stringAttribute(name: string, value: string): Attribute {
  return create(AttributeSchema, { name, type: Attribute_Type.STRING, s: Buffer.from(value, 'utf8') });
}
