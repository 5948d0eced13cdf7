import type { OnnxReport, OnnxValueCheck, OnnxVerification } from '../convert';
import { formatShape } from '../tensor/tensor';
import { formatError, formatTable } from './table';

/** What of an ONNX model was folded, and what was not. */
export function formatFolding({ folded, kept, dead, nodes, convolutions, verification }: OnnxReport): string {
  const errors = new Map(verification?.values.map(({ value, folded: error }) => [value, formatError(error)]));
  const rows = folded.map(({ output, from, kernel, groups }) => [
    output,
    countOperators(from),
    kernel.join('x'),
    groups,
    ...(verification === null ? [] : [errors.get(output) ?? '']),
  ]);
  const head = ['value', 'folded', 'kernel', 'groups', ...(verification === null ? [] : ['differs by'])];
  const outputs = verification?.values.filter(({ of }) => of === 'output') ?? [];
  return [
    ...(rows.length === 0 ? [] : [formatTable(head, rows), '']),
    ...outputs.map(({ value, folded: error }) => `output ${value} differs by ${formatError(error)} of its peak`),
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

function formatVerdict({ input, values, bound, equal }: OnnxVerification): string {
  const worst = (of: OnnxValueCheck['of']) =>
    values.filter((value) => value.of === of).reduce((most, { folded }) => Math.max(most, folded), 0);
  const wrong = values
    .filter((value) => !value.equal)
    .map(
      ({ value, of, given, folded }) =>
        `NOT EQUAL: ${of} ${value} differs by ${formatError(folded)} of the peak, of the given model by ${formatError(given)}`,
    );
  const verdict = equal ? 'equal' : 'NOT EQUAL';
  const regions = values.filter(({ of }) => of === 'region').length;
  return [
    ...wrong,
    `${verdict}: outputs for ${formatShape(input)} differ by ${formatError(worst('output'))} of the peak, ${regions} values inside by ${formatError(worst('region'))}, bound ${formatError(bound)}`,
  ].join('\n');
}
