import type { TensorData } from '../tensor/dtype';
import type { AffineConv } from './affine-conv';
import type { Factor } from './chain';

/**
 * The array of the largest branch, if the result of `size` values may be written over it: float32 of the same size, and read
 * by nothing but the kernel nearest the output of its chains, row for row.
 */
export function largestBranch(conv: AffineConv, size: number): Float32Array | undefined {
  const parts = [...conv.value.chains, ...conv.value.biasTerms];
  const overwritable = ({ kernel, outBegin }: Factor) => {
    const { tensor } = kernel;
    return (
      tensor !== null &&
      tensor.dtype === 'F32' &&
      tensor.size === size &&
      outBegin === 0 &&
      kernel.outChannels === conv.outChannels &&
      parts.every(({ factors }) =>
        factors.every(
          (other, i) => !overlap(tensor.data, other.kernel.tensor?.data) || (i === 0 && sameRows(kernel, other)),
        ),
      )
    );
  };
  const sameRows = (kernel: Factor['kernel'], other: Factor) =>
    other.kernel.tensor?.data === kernel.tensor?.data &&
    other.outBegin === 0 &&
    other.kernel.outChannels === kernel.outChannels;
  const found = conv.value.chains.map(({ factors }) => factors[0]!).find(overwritable);
  return found?.kernel.tensor?.data as Float32Array | undefined;
}

function overlap(a: TensorData, b: TensorData | undefined): boolean {
  return (
    b !== undefined &&
    a.buffer === b.buffer &&
    a.byteOffset < b.byteOffset + b.byteLength &&
    b.byteOffset < a.byteOffset + a.byteLength
  );
}
