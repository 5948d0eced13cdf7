import { floatOf, intsOf } from './attributes';
import type { Node } from './schema/onnx_pb';

/** Numbers of an input that is a constant, by its place; undefined of another. */
export type NumbersOf = (index: number) => readonly number[] | undefined;

/** Elements that a Pad puts before and after each axis (negative: cuts off) of a value of `rank` axes, or why they are not known. */
export function readPads(
  node: Node,
  rank: number,
  numbers: NumbersOf,
): { readonly before: readonly number[]; readonly after: readonly number[] } | string {
  const pads = isGiven(node, 1) ? numbers(1) : intsOf(node, 'pads');
  if (pads === undefined) return 'its pads are no constant';
  const axes = isGiven(node, 3) ? numbers(3) : Array.from({ length: rank }, (_, axis) => axis);
  if (axes === undefined) return 'its axes are no constant';
  if (pads.length !== 2 * axes.length) return 'its pads are not two for each axis';
  const [before, after] = [Array<number>(rank).fill(0), Array<number>(rank).fill(0)];
  for (const [i, given] of axes.entries()) {
    const axis = given < 0 ? given + rank : given;
    if (!(axis >= 0 && axis < rank)) return `its input has no axis ${given}`;
    before[axis] = pads[i]!;
    after[axis] = pads[axes.length + i]!;
  }
  return { before, after };
}

/** What a Pad of constants pads with; undefined where it is no constant. */
export function readPadValue(node: Node, numbers: NumbersOf): number | undefined {
  if (!isGiven(node, 2)) return floatOf(node, 'value', 0);
  const given = numbers(2);
  return given?.length === 1 ? given[0] : undefined;
}

function isGiven({ input }: Node, index: number): boolean {
  return (input[index] ?? '') !== '';
}
