import { type Command, InvalidArgumentError } from 'commander';
import { type BatchResult, type ConvertAllOptions, convertAll, type Shard } from '../convert';
import { RepfuseError } from '../errors';
import { printable } from '../printable';
import { positiveInteger } from './options';
import { ProgressDisplay } from './progress';
import { EXIT, messageOf, type Session } from './session';

/** Flags of `convert` for many files. */
export interface BatchFlags {
  readonly outDir?: string;
  readonly jobs?: number;
  readonly resume?: true;
  readonly shard?: Shard;
}

export function addBatchFlags(command: Command): Command {
  return command
    .option('--out-dir <folder>', 'where the outputs of many files go, with report.jsonl')
    .option('--jobs <number>', 'files at a time (default 1)', positiveInteger)
    .option('--resume', 'with --out-dir: leave out what an earlier run has done, by content')
    .option(
      '--shard <i/n>',
      'with --out-dir: only every n-th file, from i (from 0): for the tasks of a cluster',
      parseShard,
    );
}

/** `0/4` as a shard. */
function parseShard(text: string): Shard {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  if (index === undefined || shard.index >= shard.count)
    throw new InvalidArgumentError('expected i/n with i from 0 to n - 1, such as 0/4');
  return shard;
}

/**
 * Converts many files: one line each on stdout as they end, then a summary. With `--json` only the summary, as JSON; every file's report is
 * in report.jsonl.
 */
export async function convertBatch(
  session: Session,
  patterns: readonly string[],
  options: Omit<ConvertAllOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  const progress = new ProgressDisplay();
  const counts = { converted: 0, unchanged: 0, skipped: 0, unequal: 0, failed: 0 };
  const failures: object[] = [];
  const started = performance.now();
  let total = 0; // told when the patterns are looked up
  const summary = () => ({
    files: total,
    ...counts,
    seconds: (performance.now() - started) / 1000,
    outDir: options.outDir,
    failures,
  });
  try {
    const settings = { ...options, signal: session.signal };
    const results = convertAll(patterns, {
      ...settings,
      onProgress(step) {
        total = step.total;
        progress.updateBatch(step);
      },
    });
    for await (const result of results) {
      counts[result.status]++;
      if (result.error !== undefined) failures.push({ file: result.file, ...result.error });
      if (session.json) continue;
      progress.end();
      session.result(formatResult(result));
    }
  } catch (error) {
    if (!session.signal.aborted) throw error;
    const done = Object.values(counts).reduce((a, b) => a + b, 0);
    const message = `${done} of ${total} files were done, no file is half written; --resume goes on from there`;
    throw new RepfuseError('ERR_REPFUSE_ABORTED', message, { ...summary(), output: options.outDir }, { cause: error });
  } finally {
    progress.end();
  }
  if (session.json) session.jsonResult(summary());
  else session.result(formatSummary(summary()));
  if (counts.failed > 0) session.exitCode = EXIT.failed;
  else if (counts.unequal > 0) session.exitCode = EXIT.notEqual;
}

function formatResult({ name: file, status, output: written, milliseconds, report, error }: BatchResult): string {
  const [name, output] = [printable(file), printable(written)];
  const time = `${Math.round(milliseconds)} ms`;
  if (error !== undefined) return `${name}: ${status}: ${error.code}: ${messageOf(error)}`;
  if (report === undefined) return `${name}: ${status}`;
  if (report.folded !== undefined)
    return `${name}: ${status}: ${report.folded.length} convolutions folded -> ${output} (${time})`;
  const fused = report.blocks.filter(({ status: end }) => end === 'converted' || end === 'stale-placeholder').length;
  const what = `${fused} of ${report.blocks.length} blocks fused -> ${output}`;
  return `${name}: ${status}: ${what} (${time})`;
}

function formatSummary(summary: {
  readonly files: number;
  readonly converted: number;
  readonly unchanged: number;
  readonly skipped: number;
  readonly unequal: number;
  readonly failed: number;
  readonly seconds: number;
}): string {
  const parts = (['converted', 'unchanged', 'skipped', 'unequal', 'failed'] as const)
    .filter((status) => summary[status] > 0)
    .map((status) => `${summary[status]} ${status}`);
  return `\n${summary.files} files in ${summary.seconds.toFixed(1)} s: ${parts.join(', ') || 'nothing to do'}`;
}
