import { stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { formatOfName } from '../../checkpoint/write-checkpoint';
import { RepfuseError } from '../../errors';
import type { OutputForm } from '../output-form';

/** One file of a batch. */
export interface BatchItem {
  /** As given. */
  readonly file: string;
  /** Below the folder that all files have in common, with `/`: its name in reports. */
  readonly name: string;
  readonly output: string;
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
export async function planBatch(
  files: Iterable<string>,
  outDir: string,
  format: OutputForm['format'] | undefined,
  shard: Shard = { index: 0, count: 1 },
): Promise<BatchItem[]> {
  const byPath = new Map([...files].map((file) => [resolve(file), file]));
  const paths = [...byPath.keys()].sort();
  const base = commonFolder(paths);
  const outputs = new Map<string, string>();
  const planned = paths.map((path) => {
    const below = relative(base, path);
    const output = join(outDir, outputName(below, format));
    const other = outputs.get(resolve(output));
    if (other !== undefined) throw clash(`${output} would be the output of both ${other} and ${path}`);
    if (byPath.has(resolve(output))) throw clash(`the output of ${path} would be another input, ${output}`);
    outputs.set(resolve(output), path);
    return { file: byPath.get(path)!, name: below.split(sep).join('/'), output };
  });
  const own = planned.filter((_, position) => position % shard.count === shard.index);
  return await Promise.all(
    own.map(async (item) => ({
      ...item,
      size: await stat(item.file).then(
        ({ size }) => size,
        () => 0,
      ),
    })),
  );
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

/** Endings of checkpoint names. Of any other name nothing is cut off: `epoch_12.5` is no `.5` file. */
const ENDING = /(\.safetensors\.index\.json|\.pth\.tar|\.(pth|pt|ckpt|bin|pkl|tar|model|npz|safetensors))$/i;
const ENDINGS: Readonly<Record<OutputForm['format'], string>> = {
  safetensors: '.safetensors',
  torch: '.pth',
  npz: '.npz',
  onnx: '.onnx',
};

function outputName(below: string, format: OutputForm['format'] = formatOfName('')): string {
  const name = basename(below);
  return join(dirname(below), name.replace(ENDING, '') + ENDINGS[format]);
}
