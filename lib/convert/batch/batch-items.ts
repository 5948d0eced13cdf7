import { dirname, join, relative, resolve, sep } from 'node:path';
import { lookAt } from '../../checkpoint/read-checkpoint';
import { RepfuseError } from '../../errors';
import { outputName } from '../output-place';
import type { OutputSpec } from '../output-spec';

/** One file of a batch. */
export interface BatchItem {
  /** The input, as it was given. */
  readonly file: string;
  /** Below the folder that all files have in common, with `/`: its name in reports. */
  readonly name: string;
  readonly output: string;
  readonly kind: 'checkpoint' | 'onnx';
  /** Bytes; 0 where it cannot be looked at, which converting it will tell. */
  readonly size: number;
}

/** A part of a list: every `count`th file, from `index` (counted from 0). */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/**
 * The files of a batch in a fixed order (by path), each once, with their outputs: below `outDir` as the inputs lie below the folder that
 * all of them have in common. A shard is a part of that list, which depends on nothing but the list.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT where two files would get one output, or an output is an input
 */
export async function batchItems(
  files: Iterable<string>,
  outDir: string,
  format: OutputSpec['format'] | undefined,
  shard: Shard = { index: 0, count: 1 },
): Promise<BatchItem[]> {
  const byPath = new Map([...files].map((file) => [resolve(file), file]));
  const paths = [...byPath.keys()].sort();
  const base = commonFolder(paths);
  const outputs = new Map<string, string>();
  const facts = await lookAtAll(paths);
  const all = paths.map((path, position) => {
    const below = relative(base, path);
    const { kind, size } = facts[position]!;
    const output = join(outDir, outputName(below, kind, format));
    const other = outputs.get(resolve(output));
    if (other !== undefined) throw clash(`${output} would be the output of both ${other} and ${path}`);
    if (byPath.has(resolve(output))) throw clash(`the output of ${path} would be another input, ${output}`);
    outputs.set(resolve(output), path);
    return { file: byPath.get(path)!, name: below.split(sep).join('/'), output, kind, size };
  });
  return all.filter((_, position) => position % shard.count === shard.index);
}

/** Files that are looked at at a time. */
const AT_A_TIME = 16;

/** What each file is by its content; what cannot be opened is told when it is converted. */
async function lookAtAll(paths: readonly string[]): Promise<Pick<BatchItem, 'kind' | 'size'>[]> {
  const facts: Pick<BatchItem, 'kind' | 'size'>[] = [];
  for (let i = 0; i < paths.length; i += AT_A_TIME)
    facts.push(...(await Promise.all(paths.slice(i, i + AT_A_TIME).map(lookAt))));
  return facts;
}

function clash(problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected outputs of their own for all files but ${problem}`);
}

function commonFolder(paths: readonly string[]): string {
  const folders = paths.map((path) => dirname(path).split(sep));
  const [first = [], ...others] = folders;
  const length = others.reduce((shared, folder) => {
    const differing = first.findIndex((part, i) => part !== folder[i]);
    return Math.min(shared, differing === -1 ? first.length : differing);
  }, first.length);
  return first.slice(0, length).join(sep) || sep;
}
