import type { InputShapes, InputTensors } from '../graph';
import { formatShape, Tensor } from '../tensor/tensor';

/** Shapes of what a network is given: one, or by name. */
export function shapesOf(input: InputTensors): InputShapes {
  if (input instanceof Tensor) return input.shape;
  const named = input instanceof Map ? [...input] : Object.entries(input as Readonly<Record<string, Tensor>>);
  return Object.fromEntries(named.map(([name, { shape }]) => [name, shape]));
}

export function formatShapes(shapes: InputShapes): string {
  if (Array.isArray(shapes)) return formatShape(shapes);
  return Object.entries(shapes as Readonly<Record<string, readonly number[]>>)
    .map(([name, shape]) => `${name} ${formatShape(shape)}`)
    .join(', ');
}
