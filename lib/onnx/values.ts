import { create } from '@bufbuild/protobuf';
import { RepfuseError } from '../errors';
import { type ComputedDType, DTYPES, type DType } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { boundedCount } from '../tensor/shape-rules';
import { formatShape, Tensor } from '../tensor/tensor';
import { MAX_RANK } from './evaluation/budget';
import { Tensor_Location, type Tensor as TensorProto, TensorSchema } from './schema/onnx_pb';

/** ONNX's numbers of the types that weights and shapes have. */
const TYPES: Readonly<Record<number, ComputedDType>> = {
  1: 'F32',
  2: 'U8',
  3: 'I8',
  5: 'I16',
  6: 'I32',
  7: 'I64',
  9: 'BOOL',
  10: 'F16',
  11: 'F64',
  16: 'BF16',
};

export function dtypeOf(onnxType: number): ComputedDType | undefined {
  return TYPES[onnxType];
}

export function onnxTypeOf(dtype: DType): number {
  return Number(Object.entries(TYPES).find(([, name]) => name === dtype)![0]);
}

/**
 * The tensor that a TensorProto holds: over its `raw_data` where that is aligned, else in a new array.
 *
 * @returns undefined for a type that is none of a weight's or a shape's (strings, complex, 8-bit floats)
 * @throws ERR_REPFUSE_FORMAT naming the tensor if its data are not of its dims, or are still external
 */
export function tensorOf(proto: TensorProto): Tensor | undefined {
  const dtype = dtypeOf(proto.dataType);
  if (dtype === undefined) return undefined;
  if (proto.dims.length > MAX_RANK) throw malformed(proto, `at most ${MAX_RANK} dims`, proto.dims.length);
  const shape = proto.dims.map(Number);
  if (proto.dataLocation === Tensor_Location.EXTERNAL) throw malformed(proto, 'its own data', 'data in another file');
  const count = boundedCount(shape, Number.MAX_SAFE_INTEGER / 8);
  if (count === undefined) throw malformed(proto, 'dims of at least 0', formatShape(shape));
  const data = proto.rawData.length > 0 ? rawElements(proto, dtype, count) : typedElements(proto, dtype);
  if (data.length !== count) throw malformed(proto, `${count} elements for dims ${formatShape(shape)}`, data.length);
  return new Tensor(dtype, shape, data);
}

function rawElements(proto: TensorProto, dtype: DType, count: number): Tensor['data'] {
  const { bytes, array } = DTYPES[dtype];
  const { rawData } = proto;
  if (rawData.length !== count * bytes) throw malformed(proto, `${count * bytes} bytes of raw_data`, rawData.length);
  const aligned = rawData.byteOffset % bytes === 0 ? rawData : new Uint8Array(rawData);
  return new array(aligned.buffer, aligned.byteOffset, count);
}

function typedElements(proto: TensorProto, dtype: DType): Tensor['data'] {
  switch (dtype) {
    case 'F32':
      return Float32Array.from(proto.floatData);
    case 'F64':
      return Float64Array.from(proto.doubleData);
    case 'I64':
      return BigInt64Array.from(proto.int64Data);
    case 'I32':
      return Int32Array.from(proto.int32Data);
    case 'I16':
      return Int16Array.from(proto.int32Data);
    case 'I8':
      return Int8Array.from(proto.int32Data);
    case 'F16':
    case 'BF16':
      return Uint16Array.from(proto.int32Data);
    default:
      return Uint8Array.from(proto.int32Data);
  }
}

/** A TensorProto over the tensor's memory. */
export function protoOf(name: string, { dtype, shape, data }: Tensor): TensorProto {
  return create(TensorSchema, {
    name,
    dims: shape.map(BigInt),
    dataType: onnxTypeOf(dtype),
    rawData: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
  });
}

/** The elements as numbers, whatever the type. */
export function numbersOf({ data }: Tensor): number[] {
  return Array.from(data as ArrayLike<number | bigint>, Number);
}

/** A matrix as float32, its rows as columns. @throws ERR_REPFUSE_INVALID_ARGUMENT for one of integers */
export function transposed(tensor: Tensor): Tensor {
  const [rows, columns] = tensor.shape as [number, number];
  const from = toFloat32(tensor);
  const out = new Float32Array(from.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = from[i * columns + j]!;
  return Tensor.f32([columns, rows], out);
}

function malformed({ name }: TensorProto, expected: string, received: unknown): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_FORMAT',
    `Expected ${expected} for the ONNX tensor ${JSON.stringify(name)} but received ${received}`,
    { tensor: name },
  );
}

/** Values that are known before the network runs. */
export interface ConstantValues {
  get(value: string): Tensor | undefined;
}
