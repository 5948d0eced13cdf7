import { DTYPES, type DType, elementsOf, type TensorData } from '../../tensor/dtype';
import { elementCount } from '../../tensor/tensor';
import { gather } from '../gather';

/** How numpy wrote the elements of an array down. */
export interface ArrayLayout {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** First index innermost. */
  readonly fortran: boolean;
  readonly bigEndian: boolean;
}

/** The elements in row-major order and in this machine's, little endian. `bytes` may be written over, and stays in use. */
export function arrange(bytes: Uint8Array<ArrayBuffer>, { dtype, shape, fortran, bigEndian }: ArrayLayout): TensorData {
  const { bytes: width } = DTYPES[dtype];
  const own = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  if (bigEndian) swap(own, dtype === 'C64' ? 4 : width); // a complex number is two
  if (!fortran || shape.length < 2) return elementsOf(dtype, own.buffer, own.byteOffset, own.length);
  const count = elementCount(shape);
  let step = 1;
  const strides = shape.map((dim) => {
    const stride = step;
    step *= dim;
    return stride;
  });
  return count === 0
    ? elementsOf(dtype, own.buffer, own.byteOffset, 0)
    : elementsOf(dtype, gather(own, width, 0, shape, strides, count), 0, own.length);
}

function swap({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>, width: number): void {
  const bytes = Buffer.from(buffer, byteOffset, length);
  if (width === 2) bytes.swap16();
  else if (width === 4) bytes.swap32();
  else if (width === 8) bytes.swap64();
}
