import type { OnnxReport, OnnxVerification } from '../convert';
import { formatShape } from '../tensor/tensor';
import { formatError, formatTable } from './table';

/** What of an ONNX model was folded, and what was not. */
export function formatFolding({ folded, kept, dead, nodes, convolutions, verification }: OnnxReport): string {
  const rows = folded.map(({ output, from, kernel, groups }) => [
    output,
    countOperators(from),
    kernel.join('x'),
    groups,
  ]);
  return [
    ...(rows.length === 0 ? [] : [formatTable(['value', 'folded', 'kernel', 'groups'], rows), '']),
    ...kept.map(({ node, reason }) => `kept ${node}: ${reason}`),
    `${nodes.before} -> ${nodes.after} nodes, ${convolutions.before} -> ${convolutions.after} Conv${dead === 0 ? '' : `, ${dead} nodes that nobody reads left out`}`,
    ...(verification === null ? [] : [formatVerdict(verification)]),
  ].join('\n');
}

/** `Add` and `Conv` nodes as `2 Conv, Add`. */
function countOperators(nodes: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const node of nodes) {
    const operator = node.split(' ')[0]!;
    counts.set(operator, (counts.get(operator) ?? 0) + 1);
  }
  return [...counts].map(([operator, count]) => (count === 1 ? operator : `${count} ${operator}`)).join(', ');
}

function formatVerdict({ input, error, bound, equal }: OnnxVerification): string {
  return `${equal ? 'equal' : 'NOT EQUAL'}: outputs for ${formatShape(input)} differ by ${formatError(error)} of the peak, bound ${formatError(bound)}`;
}
