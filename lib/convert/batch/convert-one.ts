import { dirname } from 'node:path';
import { makeFolders, stat } from '../../checkpoint/files/calls';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { CHECKPOINT_OPTIONS, type ConvertOptions, convertAndHash } from '../convert';
import { startHashing } from '../hash-file';
import type { ConvertProgress, ConvertReport } from '../report';
import type { BatchItem } from './batch-items';
import type { JournalEntry } from './journal';
import type { BatchResult, Outcome } from './result';

/** A file of a batch, and what is known of it from an earlier run. */
export interface BatchTask {
  readonly item: BatchItem;
  /** Of an earlier run that is resumed: what it made of this file, if that still stands. */
  readonly done: JournalEntry | undefined;
}

/** Converts one file; what goes wrong with it is its result. @throws the signal's reason */
export async function convertOne({ item, done }: BatchTask, options: ConvertOptions): Promise<Outcome> {
  const { file, name, output } = item;
  const started = performance.now();
  const end = async (
    rest: Pick<BatchResult, 'status' | 'output' | 'sha256' | 'report' | 'error'>,
  ): Promise<Outcome> => {
    const written = rest.output === null ? undefined : await stat(rest.output);
    const result = { file, name, milliseconds: performance.now() - started, ...rest };
    return { result, outputBytes: written?.size ?? null };
  };
  try {
    if (done?.sha256 != null && done.sha256 === (await digestOf(file, options.signal)))
      return await end({ status: 'skipped', output: done.output, sha256: done.sha256 });
    await makeFolders(dirname(output));
    const { own, others } = optionsFor(item, options);
    const { report: made, sha256 } = await convertAndHash(file, output, own);
    const notes = others.map((option) => `\`${option}\` means nothing for ${KINDS[item.kind]}`);
    const report = { ...made, notes: [...made.notes, ...notes] };
    const equal = report.verification?.equal ?? true;
    const status = !equal ? 'unequal' : isChanged(report) ? 'converted' : 'unchanged';
    return await end({ status, output: report.output, sha256, report });
  } catch (error) {
    throwIfAborted(options.signal);
    return failed(item, error, performance.now() - started);
  }
}

/** The outcome of a file that could not be converted. */
export function failed({ file, name }: BatchItem, cause: unknown, milliseconds: number): Outcome {
  const { code, message, details } =
    cause instanceof RepfuseError
      ? cause
      : { code: 'UNEXPECTED' as const, message: String((cause as Error).stack ?? cause), details: {} };
  const error = { code, message, details };
  return {
    result: { file, name, milliseconds, status: 'failed', output: null, sha256: null, error },
    outputBytes: null,
  };
}

/** How much of a file is written; undefined before that. */
export function shareOf({ phase, done, total }: ConvertProgress): number | undefined {
  if (phase !== 'write') return undefined;
  return total === 0 ? 1 : done / total;
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
