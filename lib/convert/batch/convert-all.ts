import { join } from 'node:path';
import { checkRequiredOptions } from '../../arguments/check';
import { BOOLEAN, integer, optional, optionsOf } from '../../arguments/schemas';
import { PATH, pathOf } from '../../checkpoint/files/source';
import { removeLeftovers } from '../../checkpoint/files/temporaries';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { CONVERT_OPTIONS, type ConvertOptions, checkConvertOptions } from '../convert';
import { makeFolder } from '../output-place';
import { type BatchItem, batchItems, type Shard } from './batch-items';
import { type BatchFiles, inputFiles } from './input-files';
import { Journal } from './journal';
import { type BatchProgress, ProgressMeter } from './progress';
import type { BatchResult } from './result';
import { startRunner } from './runner';

export interface ConvertAllOptions extends Omit<ConvertOptions, 'onProgress'> {
  /** Where the outputs go: below it as the inputs lie below the folder that all of them have in common. Made where it is missing. */
  readonly outDir: string | URL;
  /**
   * Files at a time, on threads of their own, as many as there are cores. Default 1, whose fusing alone uses all cores where blocks are
   * large; more help where files are small, or ONNX models, or the disk is slow. Each takes the memory of a conversion.
   */
  readonly jobs?: number | undefined;
  /** Leave out what an earlier run has done: inputs whose content (SHA-256) its report has, with the same options. Default false. */
  readonly resume?: boolean | undefined;
  /** Only a part of the files, for several machines: every `count`th, from `index` (from 0). */
  readonly shard?: Shard | undefined;
  readonly onProgress?: ((progress: BatchProgress) => void) | undefined;
}

/**
 * Converts many files, checkpoints and ONNX models, as `convert` does each, and hands out what became of them as they end. One file's failure does not stop the
 * others. Memory is that of `jobs` conversions, however many files there are. `report.jsonl` in `outDir` (of a shard
 * `report.<index>-of-<count>.jsonl`) gets a line of JSON for each file.
 *
 * Leaving the loop, or aborting, stops the files that are being converted, and leaves none half written.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT before any work, as where two files would get one output; ERR_REPFUSE_FILE if `outDir` or the
 *   report cannot be written; the signal's reason
 */
export async function* convertAll(
  files: BatchFiles,
  options: ConvertAllOptions,
): AsyncGenerator<BatchResult, void, void> {
  const checked = checkConvertOptions(checkRequiredOptions('convertAll', OPTIONS, options));
  const { outDir: folder, jobs = 1, resume = false, shard, signal, onProgress, ...each } = checked;
  const outDir = pathOf(folder, 'outDir');
  checkShard(shard);
  const items = await batchItems(await inputFiles(files, outDir), outDir, each.format, shard);
  await makeFolder(outDir);
  throwIfAborted(signal);
  const journal = await Journal.open(join(outDir, reportName(shard)), fingerprint(each));
  if (resume) await removeLeftovers(items.map(({ output }) => output));
  const meter = new ProgressMeter(items, onProgress);

  const stop = new AbortController();
  const stopped = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  // What lies there is of the run that is resumed, or of another version of the input.
  const force = each.force === true || (resume && journal.exists);
  const runner = startRunner(items, jobs, { ...each, force, signal: stopped });
  const work = async (item: BatchItem) => {
    const done = resume ? await journal.finished(item) : undefined;
    return { item, outcome: await runner.run({ item, done }, (share) => meter.advance(item, share)) };
  };
  const running = new Map<BatchItem, ReturnType<typeof work>>();
  let next = 0;
  try {
    for (;;) {
      throwIfAborted(signal);
      while (running.size < jobs && next < items.length) {
        const item = items[next++]!;
        running.set(item, work(item));
      }
      if (running.size === 0) return;
      const { item, outcome } = await Promise.race(running.values());
      const { result } = outcome;
      running.delete(item);
      if (result.status !== 'skipped') await journal.add(outcome);
      meter.end(item, endOf(result));
      yield result;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(running.values());
    await Promise.all([runner.close(), journal.close()]);
  }
}

const SHARD = optionsOf<Shard>()({ index: integer(0), count: integer() });
const OPTIONS = optionsOf<ConvertAllOptions>()({
  ...CONVERT_OPTIONS,
  jobs: optional(integer()),
  outDir: PATH,
  resume: optional(BOOLEAN),
  shard: optional(SHARD),
});

function checkShard(shard: Shard | undefined): void {
  if (shard === undefined || shard.index < shard.count) return;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a shard from 0 to ${shard.count - 1} for shard.index but received ${shard.index}`,
    { option: 'shard' },
  );
}

function reportName(shard: Shard | undefined): string {
  return shard === undefined ? 'report.jsonl' : `report.${shard.index}-of-${shard.count}.jsonl`;
}

/** The options that decide what is in an output, in the order in which journals have them. */
const DECIDING = [
  'eps',
  'families',
  'keyless',
  'keepBlocks',
  'rules',
  'graph',
  'arch',
  'keyPath',
  'prefix',
  'dtype',
  'format',
  'keys',
  'grow',
] as const satisfies readonly (keyof ConvertOptions)[];

function fingerprint(options: ConvertOptions): string {
  try {
    return JSON.stringify(Object.fromEntries(DECIDING.map((name) => [name, options[name]])));
  } catch (cause) {
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      'Expected JSON for graph but reading it failed',
      { option: 'graph' },
      { cause },
    );
  }
}

function endOf({ status }: BatchResult): 'done' | 'failed' | 'skipped' {
  if (status === 'skipped') return 'skipped';
  return status === 'failed' || status === 'unequal' ? 'failed' : 'done';
}
