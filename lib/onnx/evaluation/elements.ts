import { broadcastShape } from '../../tensor/shape-rules';
import { Tensor } from '../../tensor/tensor';
import { type Budget, MOST_RANK } from './budget';

/** The entries of a list, one for each axis at most, as numbers: those beyond 2^53 are rounded, and too large for anything all the same. */
export function listOf({ data, size, dtype }: Tensor): readonly number[] | undefined {
  if (size > MOST_RANK || (dtype !== 'I64' && dtype !== 'I32')) return undefined;
  return Array.from(data as ArrayLike<number | bigint>, Number);
}

export function integers(values: readonly number[], shape: readonly number[] = [values.length]): Tensor {
  return new Tensor('I64', shape, BigInt64Array.from(values, BigInt));
}

/** An axis counted from the start; undefined where there is none. */
export function axisOf(axis: number, rank: number): number | undefined {
  const at = axis < 0 ? axis + rank : axis;
  return Number.isInteger(at) && at >= 0 && at < rank ? at : undefined;
}

/** The same, of a list in which none stands twice. */
export function axesOf(axes: readonly number[], rank: number): readonly number[] | undefined {
  const found = axes.map((axis) => axisOf(axis, rank));
  return found.includes(undefined) || new Set(found).size < found.length ? undefined : (found as number[]);
}

/** Elements from one of an axis to the next. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  return strides;
}

/** Steps in a tensor while its target is walked: 0 along axes to which it is spread. */
export function spreadSteps(shape: readonly number[], target: readonly number[]): number[] {
  const strides = stridesOf(shape);
  const added = target.length - shape.length;
  return target.map((_, axis) => (axis < added || shape[axis - added] === 1 ? 0 : strides[axis - added]!));
}

/** Visits the places of a shape in order, each with those of up to three operands, which move by their steps. */
export function walk(
  shape: readonly number[],
  steps: readonly (readonly number[])[],
  visit: (place: number, a: number, b: number, c: number) => void,
  start = 0,
): void {
  if (shape.includes(0)) return;
  const long = [...shape.keys()].filter((axis) => shape[axis] !== 1);
  const sizes = long.map((axis) => shape[axis]!);
  const [as, bs, cs] = [0, 1, 2].map((i) => long.map((axis) => steps[i]?.[axis] ?? 0)) as [
    number[],
    number[],
    number[],
  ];
  const last = sizes.length - 1;
  const inner = sizes[last] ?? 1;
  const [ia, ib, ic] = [as[last] ?? 0, bs[last] ?? 0, cs[last] ?? 0];
  const index = Array<number>(sizes.length).fill(0);
  let [a, b, c, place] = [start, 0, 0, 0];
  for (;;) {
    for (let i = 0; i < inner; i++) visit(place++, a + i * ia, b + i * ib, c + i * ic);
    let axis = last - 1;
    for (; axis >= 0; axis--) {
      a += as[axis]!;
      b += bs[axis]!;
      c += cs[axis]!;
      if (++index[axis]! < sizes[axis]!) break;
      a -= as[axis]! * sizes[axis]!;
      b -= bs[axis]! * sizes[axis]!;
      c -= cs[axis]! * sizes[axis]!;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/** A tensor of `shape` whose elements are those that a walk from `start` meets in another. */
export function picked(
  x: Tensor,
  shape: readonly number[],
  steps: readonly number[],
  budget: Budget,
  start = 0,
): Tensor | undefined {
  const data = budget.allocate(x.dtype, shape);
  if (data === undefined) return undefined;
  const from = x.data as ArrayLike<number>;
  const to = data as { [index: number]: number };
  walk(
    shape,
    [steps],
    (place, at) => {
      to[place] = from[at]!;
    },
    start,
  );
  return new Tensor(x.dtype, shape, data);
}

/** The shape in which all meet. */
export function metShape(operands: readonly Tensor[]): readonly number[] | undefined {
  return operands.reduce<readonly number[] | undefined>(
    (met, { shape }) => met && broadcastShape(met, shape),
    operands[0]?.shape,
  );
}
