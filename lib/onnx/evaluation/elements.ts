import { broadcastShape } from '../../tensor/shape-rules';
import { Tensor } from '../../tensor/tensor';
import { type Budget, MAX_RANK } from './budget';

/** The entries of a list, one for each axis at most, as numbers: those beyond 2^53 are rounded, and too large for anything all the same. */
export function listOf({ data, size, dtype }: Tensor): readonly number[] | undefined {
  if (size > MAX_RANK || (dtype !== 'I64' && dtype !== 'I32')) return undefined;
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

/** A run of places of a target, and where its operands begin: their steps within it are the same for all runs. */
type Row = (place: number, count: number, starts: readonly number[]) => void;

/** Visits a shape in order, run by run, as long ones as the operands' steps allow; told are their steps within a run. */
export function walkRows(
  shape: readonly number[],
  steps: readonly (readonly number[])[],
  visitor: (moves: readonly number[]) => Row,
  starts: readonly number[] = steps.map(() => 0),
): void {
  if (shape.includes(0)) return;
  const axes = joinedAxes(shape, steps);
  const inner = axes.pop() ?? { size: 1, steps: steps.map(() => 0) };
  const visit = visitor(inner.steps);
  const index = axes.map(() => 0);
  const at = [...starts];
  for (let place = 0; ; ) {
    visit(place, inner.size, at);
    place += inner.size;
    let axis = axes.length - 1;
    for (; axis >= 0; axis--) {
      const { size, steps: moves } = axes[axis]!;
      index[axis]!++;
      const turn = index[axis] === size ? size - 1 : -1; // back to its start, or one on
      for (let i = 0; i < at.length; i++) at[i]! -= turn * moves[i]!;
      if (turn < 0) break;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

interface Axis {
  size: number;
  readonly steps: readonly number[];
}

/** Axes of one element are left out, neighbours along which every operand goes on evenly are one. */
function joinedAxes(shape: readonly number[], steps: readonly (readonly number[])[]): Axis[] {
  const axes: Axis[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis]!;
    if (size === 1) continue;
    const own = steps.map((each) => each[axis]!);
    const after = axes.at(-1);
    if (after !== undefined && own.every((step, i) => step === after.steps[i]! * after.size)) after.size *= size;
    else axes.push({ size, steps: own });
  }
  return axes.reverse();
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
  const from = x.data as Float32Array;
  const to = data as Float32Array;
  const row =
    ([move]: readonly number[]) =>
    (place: number, count: number, [first]: readonly number[]) => {
      if (move === 0) to.fill(from[first!]!, place, place + count);
      else if (move === 1) to.set(from.subarray(first, first! + count), place);
      else for (let i = 0, at = first!; i < count; i++, at += move!) to[place + i] = from[at]!;
    };
  walkRows(shape, [steps], row, [start]);
  return new Tensor(x.dtype, shape, data);
}

/** The shape in which all meet. */
export function metShape(operands: readonly Tensor[]): readonly number[] | undefined {
  return operands.reduce<readonly number[] | undefined>(
    (met, { shape }) => met && broadcastShape(met, shape),
    operands[0]?.shape,
  );
}
