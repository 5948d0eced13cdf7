import type { BlockReport, InspectReport, Range } from '../convert';
import { formatCount, formatTable } from './table';

/** The per-block report of `inspect` and `convert`, for people. */
export function formatReport(report: InspectReport): string {
  const { blocks, parameters, bytes, macs, notes, skipped, keyPath } = report;
  const where = keyPath.length === 0 ? '' : `, weights at ${keyPath.join('.')}`;
  const lines = [`${report.file}: ${report.format}${where}`, ''];
  if (blocks.length > 0) {
    lines.push(
      formatTable(
        ['block', 'family', 'form', 'status', 'branches', 'BN', 'kernel', 'eps', 'params', 'fused'],
        blocks.map(row),
      ),
      '',
    );
  }
  lines.push(
    `${blocks.length} blocks, ${report.otherTensors} other tensors; parameters ${formatCount(parameters.before)} -> ${formatCount(parameters.after)}, bytes ${formatCount(bytes.before)} -> ${formatCount(bytes.after)}`,
  );
  if (macs !== null)
    lines.push(`multiply-accumulates of one image ${formatCount(macs.before)} -> ${formatCount(macs.after)}`);
  for (const eps of distinctEps(blocks)) lines.push(eps);
  for (const { prefix, reason, warning } of blocks) {
    if (reason !== undefined) lines.push(`${prefix || '(root)'}: ${reason}`);
    if (warning !== undefined) lines.push(`warning: ${prefix || '(root)'}: ${warning}`);
  }
  lines.push(...rangeLines(blocks));
  for (const note of notes) lines.push(`note: ${note}`);
  if (skipped.length > 0) lines.push(`left out: ${skipped.map(({ path, what }) => `${path} (${what})`).join(', ')}`);
  return lines.join('\n');
}

function row(block: BlockReport): (string | number)[] {
  const [out, inPerGroup, kh, kw] = block.kernel;
  return [
    block.prefix || '(root)',
    block.family,
    block.form,
    block.status,
    block.branches.join(' + ') || '-',
    block.batchNorms,
    `${inPerGroup}->${out} ${kh}x${kw}${block.groups !== null && block.groups > 1 ? ` g${block.groups}` : ''}`,
    block.epsEffect === null ? '-' : formatEps(block.eps.value),
    block.parameters.before,
    block.parameters.after,
  ];
}

/** Ranges of the weights before and after; `spread` is the widest channel over the median one: what one scale for all costs a quantiser. */
function rangeLines(blocks: readonly BlockReport[]): string[] {
  const measured = blocks.filter(({ weightRange }) => weightRange !== undefined);
  if (measured.length === 0) return [];
  const describe = ({ min, max, channels }: Range) => {
    const widths = channels.max.map((high, c) => Math.max(Math.abs(high), Math.abs(channels.min[c]!)));
    const sorted = widths.sort((a, b) => a - b);
    return [
      `${min.toPrecision(4)} .. ${max.toPrecision(4)}`,
      (sorted.at(-1)! / sorted[sorted.length >> 1]!).toPrecision(3),
    ];
  };
  const rows = measured.map(({ prefix, weightRange }) => [
    prefix || '(root)',
    ...describe(weightRange!.before),
    ...describe(weightRange!.after),
  ]);
  return [formatTable(['block', 'weights before', 'spread', 'weights after', 'spread'], rows), ''];
}

/** 0.00001 as `1e-5`. */
function formatEps(eps: number): string {
  return eps.toExponential();
}

/** Each choice of eps with its source and what another would change. */
function distinctEps(blocks: readonly BlockReport[]): string[] {
  const effects = new Map<string, number>();
  for (const { eps, epsEffect } of blocks) {
    if (epsEffect === null) continue;
    const key = `eps ${formatEps(eps.value)} (${eps.source})`;
    effects.set(key, Math.max(effects.get(key) ?? 0, epsEffect));
  }
  return [...effects].map(
    ([key, effect]) =>
      `${key}; 1e-5 and 1e-3 would differ by up to ${(100 * effect).toPrecision(2)} % in a fused weight`,
  );
}
