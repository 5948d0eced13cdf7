import { type Polynomial, safe, UnusableSize } from './polynomial';
import { polynomial, type Size } from './size';

/** What open sizes are, by their names. */
export type OpenSizes = ReadonlyMap<string, number>;

/** What a size is. @throws UnusableSize for a name that is not there, a division by 0, a value beyond 2^53 */
export function evaluate(size: Size, open: OpenSizes): number {
  return typeof size === 'number' ? size : valueIn(polynomial(size), open);
}

function valueIn(sum: Polynomial, open: OpenSizes): number {
  let value = 0;
  for (const { factor, atoms } of sum) {
    let product = factor;
    for (const { text, operation } of atoms) {
      if (operation === undefined) {
        const named = open.get(text);
        if (named === undefined) throw new UnusableSize(`an open size that no input has: ${text}`);
        product = safe(product * named);
        continue;
      }
      const [a, b] = [valueIn(operation.first, open), valueIn(operation.second, open)];
      if (operation.kind === 'floor' && b === 0) throw new UnusableSize('a division by 0');
      const result =
        operation.kind === 'floor' ? Math.floor(a / b) : operation.kind === 'min' ? Math.min(a, b) : Math.max(a, b);
      product = safe(product * result);
    }
    value = safe(value + product);
  }
  return value;
}

/** The open sizes of inputs of `shapes`, which are `given`; undefined where a size is another, or one name would have two values. */
export function openSizes(
  shapes: readonly (readonly Size[])[],
  given: readonly (readonly number[])[],
): OpenSizes | undefined {
  const open = new Map<string, number>();
  for (const [i, shape] of shapes.entries()) {
    if (shape.length !== given[i]?.length) return undefined;
    for (const [axis, size] of shape.entries()) {
      const value = given[i]![axis]!;
      const known = typeof size === 'number' ? size : open.get(size);
      if (known !== undefined && known !== value) return undefined;
      if (typeof size === 'string') open.set(size, value);
    }
  }
  return open;
}
