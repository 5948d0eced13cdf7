import { existsSync } from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import { checkArgument } from '../../arguments/check';
import { type Schema, value } from '../../arguments/schemas';
import { quote } from '../../arguments/show';
import { isURL, pathOf } from '../../checkpoint/files/source';
import { RepfuseError } from '../../errors';

/** Files of a batch: paths and `file:` URLs, and patterns (`ckpts/*.pth`); one of them, or several. */
export type BatchFiles = string | URL | Iterable<string | URL>;

const FILES: Schema<Iterable<string | URL>> = value(
  'a path, a pattern, a file: URL or an iterable of them',
  (given) =>
    typeof given === 'object' &&
    given !== null &&
    typeof (given as Partial<Iterable<unknown>>)[Symbol.iterator] === 'function',
);

/**
 * The files that paths and patterns stand for. What exists under its very name is that file. Nothing of the output folder that a pattern
 * finds is an input.
 *
 * @throws ERR_REPFUSE_FILE for a pattern that stands for none; ERR_REPFUSE_INVALID_ARGUMENT
 */
export async function inputFiles(given: BatchFiles, outDir: string): Promise<string[]> {
  const isOne = typeof given === 'string' || isURL(given);
  const list = isOne ? [given] : [...checkArgument('files', FILES, given)];
  const files: string[] = [];
  for (const [index, item] of list.entries()) {
    const path = pathOf(item, isOne ? 'files' : `files[${index}]`);
    if (isURL(item) || existsSync(path)) files.push(path);
    else files.push(...(await expand(path, outDir)));
  }
  return files;
}

async function expand(pattern: string, outDir: string): Promise<string[]> {
  const { glob, isDynamicPattern } = require('tinyglobby') as typeof import('tinyglobby');
  if (!isDynamicPattern(pattern)) return [pattern]; // that it is missing is told when its turn comes
  const found = await glob(pattern, { dot: false, expandDirectories: false, absolute: isAbsolute(pattern) });
  if (found.length === 0) {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Expected files for ${quote(pattern)} but found none`, {
      file: pattern,
    });
  }
  return found.filter((file) => relative(resolve(outDir), resolve(file)).startsWith('..'));
}
