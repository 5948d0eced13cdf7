import type { InspectReport, OnnxFacts, OnnxValue, OnnxValueCheck, OnnxVerification, VerifyReport } from '../convert';
import { formatShape } from '../tensor/tensor';
import { formatCount, formatError, formatTable } from './table';

/** A report on an ONNX model. */
export type OnnxInspection = InspectReport & OnnxFacts;

export function isOnnxReport(report: InspectReport): report is OnnxInspection {
  return report.format === 'onnx';
}

/** What an ONNX model is, and what of it can be folded. */
export function formatOnnx(report: OnnxInspection): string {
  const { file, opset, inputs, outputs, operators } = report;
  return [
    `${file}: onnx, operators of version ${opset}`,
    ...inputs.map((value) => `input ${describeValue(value)}`),
    ...outputs.map((value) => `output ${describeValue(value)}`),
    `nodes: ${operators.map(({ operator, count }) => `${count} ${operator}`).join(', ') || 'none'}`,
    '',
    formatRegions(report, 'foldable', null),
    formatFigures(report),
  ].join('\n');
}

/** What of an ONNX model was folded, and what was not. */
export function formatFolding(report: OnnxInspection, verification: VerifyReport | null): string {
  const checked = verification === null ? null : asOnnxVerification(verification);
  const outputs = checked?.values.filter(({ of }) => of === 'output') ?? [];
  return [
    formatRegions(report, 'folded', checked),
    ...outputs.map(({ value, folded: error }) => `output ${value} differs by ${formatError(error)} of its peak`),
    formatFigures(report),
    ...(checked === null ? [] : [formatVerdict(checked)]),
  ].join('\n');
}

/** The verification of two ONNX models; null for one of anything else. */
export function asOnnxVerification(report: VerifyReport): OnnxVerification | null {
  return report.values === undefined ? null : (report as VerifyReport & OnnxVerification);
}

function formatRegions(
  { folded }: OnnxFacts,
  head: 'foldable' | 'folded',
  verification: OnnxVerification | null,
): string {
  if (folded.length === 0) return `nothing is ${head}`;
  const errors = new Map(verification?.values.map(({ value, folded: error }) => [value, formatError(error)]));
  const rows = folded.map(({ output, from, kernel, groups }) => [
    output,
    countOperators(from),
    kernel.join('x'),
    groups,
    ...(verification === null ? [] : [errors.get(output) ?? '']),
  ]);
  const columns = ['value', head, 'kernel', 'groups', ...(verification === null ? [] : ['differs by'])];
  return `${formatTable(columns, rows)}\n`;
}

function formatFigures({
  kept,
  nodes,
  convolutions,
  batchNorms,
  dead,
  parameters,
  bytes,
  notes,
}: OnnxInspection): string {
  const change = ({ before, after }: { before: number; after: number }) =>
    `${formatCount(before)} -> ${formatCount(after)}`;
  return [
    ...formatKept(kept),
    `${nodes.before} -> ${nodes.after} nodes, ${convolutions.before} -> ${convolutions.after} Conv${dead === 0 ? '' : `, ${dead} nodes that nobody reads left out`}`,
    `BatchNormalizations ${change(batchNorms)}, parameters ${change(parameters)}, bytes ${change(bytes)}`,
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}

/** One line for each reason, the most frequent first, with a few of the nodes. */
function formatKept(kept: OnnxFacts['kept']): string[] {
  const nodes = new Map<string, string[]>();
  for (const { node, reason } of kept) nodes.set(reason, [...(nodes.get(reason) ?? []), node]);
  return [...nodes]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([reason, all]) => {
      const shown = all.slice(0, KEPT_SHOWN).join(', ');
      const left = all.length - KEPT_SHOWN;
      return `kept ${shown}${left > 0 ? ` and ${left} more` : ''}: ${reason}`;
    });
}

/** Nodes that are named for each reason; the report as JSON names all. */
const KEPT_SHOWN = 3;

function describeValue({ name, type, shape }: OnnxValue): string {
  return `${name}: ${type ?? 'no tensor'} ${shape === null ? 'of any shape' : `[${shape.map((size) => size ?? '?').join(', ')}]`}`;
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

/** The verdict, with every value that differs. */
export function formatVerdict({ input, notRun, values, equal }: OnnxVerification): string {
  const [outputs, regions] = (['output', 'region'] as const).map((of) => values.filter((value) => value.of === of));
  const worst = (checks: readonly OnnxValueCheck[]) => checks.reduce((most, { folded }) => Math.max(most, folded), 0);
  const wrong = values
    .filter((value) => !value.equal)
    .map(({ value, of, given, folded, bound, problem }) =>
      problem === undefined
        ? `NOT EQUAL: ${of} ${value} differs by ${formatError(folded)} ${MEASURES[of]}, of the given model by ${formatError(given)}, bound ${formatError(bound)}`
        : `NOT EQUAL: ${of} ${value} was not compared: ${problem}`,
    );
  const whole =
    notRun === null
      ? `outputs for ${formatShape(input)} differ by ${formatError(worst(outputs!))} ${MEASURES.output}`
      : `the whole models were not run (${notRun})`;
  return [
    ...wrong,
    `${equal ? 'equal' : 'NOT EQUAL'}: ${whole}, ${regions!.length} regions by ${formatError(worst(regions!))} ${MEASURES.region}`,
  ].join('\n');
}

const MEASURES = { output: 'of the peak', region: 'of the sum of their terms' } as const;
