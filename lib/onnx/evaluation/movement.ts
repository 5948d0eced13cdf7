import { broadcastShape, sliceRange } from '../../tensor/shape-rules';
import { elementCount, Tensor } from '../../tensor/tensor';
import { type Budget, MAX_RANK } from './budget';
import { axesOf, axisOf, metShape, picked, spreadSteps, stridesOf, walkRows } from './elements';

type List = readonly number[];

/** The same elements in another shape, if it holds them. */
export function withShape(x: Tensor, shape: List): Tensor | undefined {
  const isShape = shape.length <= MAX_RANK && shape.every((size) => Number.isSafeInteger(size) && size >= 0);
  return isShape && elementCount(shape) === x.size ? new Tensor(x.dtype, shape, x.data) : undefined;
}

export function reshaped(x: Tensor, wanted: List, zeroIsZero: boolean): Tensor | undefined {
  const shape = wanted.map((size, i) => (size === 0 && !zeroIsZero ? (x.shape[i] ?? -2) : size));
  const free = shape.indexOf(-1);
  if (free >= 0) shape[free] = x.size / elementCount(shape.filter((_, axis) => axis !== free));
  return withShape(x, shape);
}

export function unsqueezed(x: Tensor, given: List): Tensor | undefined {
  const rank = x.shape.length + given.length;
  const axes = rank > MAX_RANK ? undefined : axesOf(given, rank);
  if (axes === undefined) return undefined;
  const rest = x.shape.values();
  const shape = Array.from({ length: rank }, (_, axis) => (axes.includes(axis) ? 1 : rest.next().value!));
  return withShape(x, shape);
}

export function squeezed(x: Tensor, given: List | undefined): Tensor | undefined {
  const axes = given === undefined ? undefined : axesOf(given, x.shape.length);
  if (given !== undefined && axes === undefined) return undefined;
  const shape = x.shape.filter((size, axis) => (axes === undefined ? size !== 1 : !axes.includes(axis)));
  return withShape(x, shape);
}

export function spread(x: Tensor, wanted: List, budget: Budget): Tensor | undefined {
  const shape = wanted.length > MAX_RANK ? undefined : broadcastShape(x.shape, wanted);
  return shape && picked(x, shape, spreadSteps(x.shape, shape), budget);
}

export function transposed(x: Tensor, perm: List | undefined, budget: Budget): Tensor | undefined {
  const rank = x.shape.length;
  const axes = axesOf(perm ?? x.shape.map((_, axis) => rank - 1 - axis), rank);
  if (axes?.length !== rank) return undefined;
  const strides = stridesOf(x.shape);
  return picked(
    x,
    axes.map((axis) => x.shape[axis]!),
    axes.map((axis) => strides[axis]!),
    budget,
  );
}

/** Repeated so often along each axis. */
export function tiled(x: Tensor, repeats: List, budget: Budget): Tensor | undefined {
  if (repeats.length !== x.shape.length || repeats.some((count) => !(count >= 0))) return undefined;
  const strides = stridesOf(x.shape);
  const apart = picked(
    x,
    x.shape.flatMap((size, axis) => [repeats[axis]!, size]),
    strides.flatMap((stride) => [0, stride]),
    budget,
  );
  return (
    apart &&
    withShape(
      apart,
      x.shape.map((size, axis) => size * repeats[axis]!),
    )
  );
}

/** Elements at the given indices along one axis, in a new shape. */
export function gathered(x: Tensor, indices: Tensor, axis: number, budget: Budget): Tensor | undefined {
  const at = axisOf(axis, x.shape.length);
  if (at === undefined || (indices.dtype !== 'I64' && indices.dtype !== 'I32')) return undefined;
  const size = x.shape[at]!;
  const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
  const inner = elementCount(x.shape.slice(at + 1));
  const outer = elementCount(x.shape.slice(0, at));
  const data = budget.spend(indices.size * (outer + 1)) ? budget.allocate(x.dtype, shape) : undefined;
  if (data === undefined) return undefined;
  const places = Array.from(indices.data as ArrayLike<number | bigint>, Number);
  for (const [i, place] of places.entries()) {
    if (!(place >= -size && place < size)) return undefined;
    const from = (place < 0 ? place + size : place) * inner;
    for (let n = 0; n < outer; n++) {
      const part = (x.data as Float32Array).subarray(n * size * inner + from, n * size * inner + from + inner);
      (data as Float32Array).set(part, (n * places.length + i) * inner);
    }
  }
  return new Tensor(x.dtype, shape, data);
}

/** Elements that one call copies sooner than a loop. */
const LONG = 64;

export function concatenated(parts: readonly Tensor[], axis: number, budget: Budget): Tensor | undefined {
  const [first] = parts;
  const at = first && axisOf(axis, first.shape.length);
  if (first === undefined || at === undefined) return undefined;
  const fits = ({ dtype, shape }: Tensor) =>
    dtype === first.dtype &&
    shape.length === first.shape.length &&
    shape.every((size, i) => i === at || size === first.shape[i]);
  if (!parts.every(fits)) return undefined;
  const total = parts.reduce((sum, { shape }) => sum + shape[at]!, 0);
  const shape = first.shape.map((size, i) => (i === at ? total : size));
  const outer = elementCount(first.shape.slice(0, at));
  const data = budget.spend(parts.length * outer) ? budget.allocate(first.dtype, shape) : undefined;
  if (data === undefined) return undefined;
  const row = elementCount(shape.slice(at));
  const to = data as Float32Array;
  let begin = 0; // in a row
  for (const x of parts) {
    const from = x.data as Float32Array;
    const length = elementCount(x.shape.slice(at));
    for (let n = 0, source = 0, place = begin; n < outer; n++, source += length, place += row) {
      if (length >= LONG) to.set(from.subarray(source, source + length), place);
      else for (let i = 0; i < length; i++) to[place + i] = from[source + i]!;
    }
    begin += length;
  }
  return new Tensor(first.dtype, shape, data);
}

export interface Slices {
  readonly starts: List;
  readonly ends: List;
  readonly axes?: List | undefined;
  readonly steps?: List | undefined;
}

export function sliced(x: Tensor, { starts, ends, axes, steps }: Slices, budget: Budget): Tensor | undefined {
  const at = axesOf(axes ?? starts.map((_, i) => i), x.shape.length);
  const lengths = [ends, at, steps ?? starts].map((list) => list?.length);
  if (at === undefined || lengths.some((length) => length !== starts.length)) return undefined;
  const strides = stridesOf(x.shape);
  const shape = [...x.shape];
  const moves = [...strides];
  let start = 0;
  for (const [i, axis] of at.entries()) {
    const stepped = steps?.[i] ?? 1;
    if (stepped === 0) return undefined;
    const { first, step, count } = sliceRange(starts[i]!, ends[i]!, stepped, x.shape[axis]!);
    shape[axis] = count;
    start += first * strides[axis]!;
    moves[axis] = step * strides[axis]!;
  }
  return picked(x, shape, moves, budget, start);
}

/** Parts along one axis; the sizes must be all of it. */
export function split(x: Tensor, given: number, sizes: List, budget: Budget): readonly Tensor[] | undefined {
  const axis = axisOf(given, x.shape.length);
  if (axis === undefined || sizes.some((size) => !(size >= 0))) return undefined;
  if (sizes.reduce((sum, size) => sum + size, 0) !== x.shape[axis]) return undefined;
  let start = 0;
  const parts: Tensor[] = [];
  for (const size of sizes) {
    const part = sliced(x, { starts: [start], ends: [start + size], axes: [axis] }, budget);
    if (part === undefined) return undefined;
    parts.push(part);
    start += size;
  }
  return parts;
}

/** The elements of `a` where the condition holds, of `b` elsewhere. */
export function chosen(condition: Tensor, a: Tensor, b: Tensor, budget: Budget): Tensor | undefined {
  const shape = metShape([condition, a, b]);
  if (shape === undefined || condition.dtype !== 'BOOL' || a.dtype !== b.dtype) return undefined;
  const data = budget.allocate(a.dtype, shape);
  if (data === undefined) return undefined;
  const [xs, ys] = [a.data as ArrayLike<number>, b.data as ArrayLike<number>];
  const steps = [condition, a, b].map((each) => spreadSteps(each.shape, shape));
  const to = data as { [index: number]: number };
  walkRows(shape, steps, ([dc, dx, dy]) => (place, count, [c, x, y]) => {
    for (let i = 0; i < count; i++)
      to[place + i] = condition.data[c! + i * dc!] ? xs[x! + i * dx!]! : ys[y! + i * dy!]!;
  });
  return new Tensor(a.dtype, shape, data);
}
