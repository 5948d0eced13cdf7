import { readFile } from 'node:fs/promises';
import { InvalidArgumentError, Option } from 'commander';
import { PRECISIONS } from '../engine';
import { type ErrorCode, RepfuseError } from '../errors';

/** A number of at least 0 on the command line. */
export function nonNegativeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('expected a number of at least 0');
  return value;
}

/** BatchNorm eps on the command line: a number or `auto`. */
export function epsilon(text: string): number | 'auto' {
  return text === 'auto' ? text : nonNegativeNumber(text);
}

/** A positive integer on the command line. */
export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('expected an integer of at least 1');
  return value;
}

/** `--precision`, with further words that a command takes. */
export function precisionOption(...others: readonly string[]): Option {
  return new Option('--precision <mode>', 'what the engine may lose for speed')
    .choices([...PRECISIONS, ...others])
    .default('f32');
}

/** `--memory`, as `Engine.create` takes it. */
export function memoryOption(): Option {
  return new Option('--memory <use>', 'least: no weights made larger for speed (default: auto)').choices([
    'auto',
    'least',
  ]);
}

/** `state_dict.model` as a path of keys; nothing is the root. */
export function keyPath(text: string): string[] {
  return text === '' ? [] : text.split('.');
}

/** Collects an option that may be given several times. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** The parsed JSON of a file. @throws ERR_REPFUSE_FILE, or `code` for what is no JSON */
export async function readJson(file: string, code: ErrorCode = 'ERR_REPFUSE_GRAPH'): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${cause.message}`, { file }, { cause });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RepfuseError(
      code,
      `Expected JSON in ${file} but received ${(cause as Error).message}`,
      { file },
      { cause },
    );
  }
}
