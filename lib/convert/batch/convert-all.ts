import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkRequiredOptions } from '../../arguments/check';
import { BOOLEAN, integer, optional, optionsOf } from '../../arguments/schemas';
import { keepBuffers } from '../../checkpoint/files/buffer-pool';
import { PATH, pathOf } from '../../checkpoint/files/source';
import { removeLeftovers } from '../../checkpoint/files/temporaries';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { CHECKPOINT_OPTIONS, CONVERT_OPTIONS, type ConvertOptions, checkConvertOptions, convert } from '../convert';
import { startHashing } from '../hash-file';
import { makeFolder } from '../output-place';
import type { ConvertProgress, ConvertReport } from '../report';
import { type BatchItem, batchItems, type Shard } from './batch-items';
import { type BatchFiles, inputFiles } from './input-files';
import { Journal } from './journal';
import { type BatchProgress, ProgressMeter } from './progress';
import type { BatchResult } from './result';

export interface ConvertAllOptions extends Omit<ConvertOptions, 'onProgress'> {
  /** Where the outputs go: below it as the inputs lie below the folder that all of them have in common. Made where it is missing. */
  readonly outDir: string | URL;
  /** Files at a time. Default 1, which uses all threads already; more help where files are small or the disk is slow. */
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
  const work = async (item: BatchItem) => {
    const onStep = ({ phase, done, total }: ConvertProgress) => {
      if (phase === 'write') meter.advance(item, total === 0 ? 1 : done / total);
    };
    const settings = { ...each, signal: stopped, onProgress: onStep };
    return { item, result: await convertOne(item, settings, resume ? journal : undefined) };
  };
  const running = new Map<BatchItem, ReturnType<typeof work>>();
  const freeBuffers = keepBuffers(); // the next file's tensors take the place of this one's
  let next = 0;
  try {
    for (;;) {
      throwIfAborted(signal);
      while (running.size < jobs && next < items.length) {
        const item = items[next++]!;
        running.set(item, work(item));
      }
      if (running.size === 0) return;
      const { item, result } = await Promise.race(running.values());
      running.delete(item);
      if (result.status !== 'skipped') await journal.add(result);
      meter.end(item, endOf(result));
      yield result;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(running.values());
    freeBuffers();
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

/** Converts one file; what goes wrong with it is its result. @throws the signal's reason */
async function convertOne(
  item: BatchItem,
  options: ConvertOptions,
  earlier: Journal | undefined,
): Promise<BatchResult> {
  const { file, name, output } = item;
  const started = performance.now();
  const result = (rest: Pick<BatchResult, 'status' | 'output' | 'sha256' | 'report' | 'error'>): BatchResult => ({
    file,
    name,
    milliseconds: performance.now() - started,
    ...rest,
  });
  try {
    const done = await earlier?.finished(item);
    if (done?.sha256 != null && done.sha256 === (await digestOf(file, options.signal)))
      return result({ status: 'skipped', output: done.output, sha256: done.sha256 });
    await mkdir(dirname(output), { recursive: true });
    // What lies there is of the run that is resumed, or of another version of the input.
    const force = options.force === true || earlier?.exists === true;
    const { own, others } = optionsFor(item, { ...options, force });
    const [made, digest] = await convertAndHash(item, own);
    const notes = others.map((option) => `\`${option}\` means nothing for ${KINDS[item.kind]}`);
    const report = { ...made, notes: [...made.notes, ...notes] };
    const sha256 = report.sha256 ?? digest;
    const equal = report.verification?.equal ?? true;
    const status = !equal ? 'unequal' : isChanged(report) ? 'converted' : 'unchanged';
    return result({ status, output: report.output, sha256, report });
  } catch (error) {
    throwIfAborted(options.signal);
    const { code, message, details } =
      error instanceof RepfuseError
        ? error
        : { code: 'UNEXPECTED' as const, message: String((error as Error).stack ?? error), details: {} };
    return result({ status: 'failed', output: null, sha256: null, error: { code, message, details } });
  }
}

function isChanged({ blocks, folded = [] }: ConvertReport): boolean {
  return folded.length > 0 || blocks.some(({ status }) => status === 'converted' || status === 'stale-placeholder');
}

const KINDS: Readonly<Record<BatchItem['kind'], string>> = { checkpoint: 'a checkpoint', onnx: 'an ONNX model' };

/**
 * The options that concern a file, and the names of the others: what steers the search for blocks means nothing for an ONNX model, and
 * `grow` nothing for a checkpoint.
 */
function optionsFor(
  { kind }: BatchItem,
  options: ConvertOptions,
): { readonly own: ConvertOptions; readonly others: readonly string[] } {
  const foreign: readonly (keyof ConvertOptions)[] = kind === 'onnx' ? FOREIGN_TO_ONNX : ['grow'];
  const own = Object.entries(options).filter(([name]) => !foreign.includes(name as keyof ConvertOptions));
  return { own: Object.fromEntries(own), others: foreign.filter((name) => options[name] !== undefined) };
}

/** A type or format that an ONNX model cannot have is refused, file by file. */
const FOREIGN_TO_ONNX = CHECKPOINT_OPTIONS.filter((name) => name !== 'dtype' && name !== 'format');

/** Converts a file, and hashes it meanwhile where the conversion does not. */
async function convertAndHash(
  { file, output }: BatchItem,
  options: ConvertOptions,
): Promise<[ConvertReport, string | null]> {
  const { format = 'safetensors', hash = true } = options;
  const hashing = hash && format !== 'safetensors' ? startHashing(file) : undefined;
  try {
    const report = await convert(file, output, options);
    const digest = hash && report.sha256 === null ? (hashing?.digest ?? digestOf(file, options.signal)) : null;
    return [report, await digest];
  } finally {
    hashing?.stop();
  }
}

async function digestOf(file: string, signal: AbortSignal | undefined): Promise<string> {
  throwIfAborted(signal);
  const hashing = startHashing(file);
  signal?.addEventListener('abort', hashing.stop, { once: true });
  try {
    return await hashing.digest;
  } finally {
    signal?.removeEventListener('abort', hashing.stop);
  }
}
