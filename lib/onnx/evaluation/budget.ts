import { DTYPES, type DType, type TensorData } from '../../tensor/dtype';
import { boundedCount } from '../../tensor/shape-rules';

/** Axes of a tensor: as many as numpy takes. */
export const MAX_RANK = 64;
/** What is evaluated of any model, however small: exporters compute shapes, masks and grids of places. */
const MAX_ELEMENTS = 1 << 24;
const MAX_BYTES = 1 << 26;
/** And for each byte of its initializers: weights may be standardised, in some ten steps. */
const STEPS_PER_BYTE = 8;
const KEPT_PER_BYTE = 2;
/** Integers are exact, as BigInt: so much slower are they than floats. */
const INTEGER_EFFORT = 8;

/** What evaluating constants may take of time and memory. What is refused is not known; the order of the nodes alone decides what. */
export class Budget {
  private steps: number;
  private bytes: number;

  private readonly held = new WeakSet<TensorData>();

  /** @param bytes of the initializers, which are there anyway */
  constructor(bytes = 0) {
    this.steps = MAX_ELEMENTS + STEPS_PER_BYTE * bytes;
    this.bytes = MAX_BYTES + KEPT_PER_BYTE * bytes;
  }

  /** Memory for a result, zeroed; undefined where its size is none, or more than what is left. */
  allocate(dtype: DType, shape: readonly number[]): TensorData | undefined {
    const count = shape.length > MAX_RANK ? undefined : boundedCount(shape, this.steps);
    if (count === undefined || count * DTYPES[dtype].bytes > this.bytes) return undefined;
    if (!this.spend(count * (dtype === 'I64' ? INTEGER_EFFORT : 1))) return undefined;
    this.bytes -= count * DTYPES[dtype].bytes;
    const data = new DTYPES[dtype].array(count);
    this.held.add(data);
    return data;
  }

  /** Work beyond one visit of every element of the result. False where there is none left. */
  spend(steps: number): boolean {
    if (!(steps <= this.steps)) return false;
    this.steps -= steps;
    return true;
  }

  /** As much again: for an attempt that may be made anew. */
  copy(): Budget {
    return Object.assign(new Budget(), { steps: this.steps, bytes: this.bytes });
  }

  /** Memory that it gave is no longer used. */
  release(data: TensorData): void {
    if (this.held.delete(data)) this.bytes += data.byteLength;
  }
}
