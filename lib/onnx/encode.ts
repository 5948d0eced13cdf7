import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { changed } from './messages';
import { type Graph, GraphSchema, type Model, ModelSchema, type Tensor, TensorSchema } from './schema/onnx_pb';

/** Weights of so many bytes stay where they are. */
const LARGE = 1 << 12;

/**
 * A model as protobuf, in parts: those of large weights are their own memory. (The writer of protobuf-es puts all into one array, which grows by
 * copying: three times the model's memory, and most of the time that writing takes.) Put together they are the bytes that it would write.
 */
export function encodeModel(model: Model & { readonly graph: Graph }): Uint8Array[] {
  return withField(ModelSchema, without(model, 'graph'), [[GRAPH, encodeGraph(model.graph)]]);
}

/** Numbers of fields in onnx.proto. */
const GRAPH = 7;
const INITIALIZER = 5;
const RAW_DATA = 9;

function encodeGraph(graph: Graph): Uint8Array[] {
  const initializers = graph.initializer.map((tensor) => [INITIALIZER, encodeTensor(tensor)] as const);
  return withField(GraphSchema, changed(graph, { initializer: [] }), initializers);
}

function encodeTensor(tensor: Tensor): Uint8Array[] {
  const { rawData } = tensor;
  if (rawData.length < LARGE) return [toBinary(TensorSchema, tensor)];
  return withField(TensorSchema, without(tensor, 'rawData'), [[RAW_DATA, [rawData]]]);
}

/** The message without a field, which is then not written: an empty one would be. */
function without<T extends object>(message: T, field: keyof T): T {
  const rest = changed(message, {});
  delete rest[field];
  return rest;
}

/** A message and fields of bytes that it lacks, all of one number, in their place by that. */
function withField<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  fields: readonly (readonly [number: number, parts: readonly Uint8Array[]])[],
): Uint8Array[] {
  const bytes = toBinary(schema, message);
  const at = fields.length === 0 ? bytes.length : beginningOf(fields[0]![0], bytes);
  return [
    bytes.subarray(0, at),
    ...fields.flatMap(([number, parts]) => [delimiter(number, lengthOf(parts)), ...parts]),
    bytes.subarray(at),
  ];
}

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

/** Where fields begin that come behind `number`: they are written in their order. */
function beginningOf(number: number, bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const begin = reader.pos;
    const [field, wire] = reader.tag();
    if (field > number || wire === WireType.StartGroup) return begin; // groups are of fields that are not known: they come last
    reader.skip(wire, field);
  }
  return reader.len;
}

/** The tag and the length of a field of bytes. */
function delimiter(number: number, length: number): Uint8Array {
  return new BinaryWriter().tag(number, WireType.LengthDelimited).uint64(length).finish();
}
