import { constants } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { access, makeFolders, stat } from '../checkpoint/files/calls';
import { expectAbsent } from '../checkpoint/files/new-file';
import type { Input } from '../checkpoint/files/source';
import type { OpenInput } from '../checkpoint/read-checkpoint';
import { endingOf, endingOfName, formatOfName } from '../checkpoint/write-checkpoint';
import { RepfuseError } from '../errors';
import type { OutputOptions, OutputSpec } from './output-spec';

/** Where an output goes, and in which format. */
export interface OutputPlace {
  readonly file: string;
  readonly format: OutputSpec['format'];
  /** A folder that is to be made first. */
  readonly newFolder: string | undefined;
}

export interface PlaceOptions extends Pick<OutputOptions, 'format'> {
  readonly force?: boolean | undefined;
}

/**
 * Where the output of an input goes: the file of that name; in a folder (one that exists, or a name that ends with a slash) one with the
 * input's name and the ending of its format. What would make the writing fail in the end is told here, before the work.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for a name whose ending tells no format or one that the content is not of, or for the input itself;
 *   ERR_REPFUSE_EXISTS; ERR_REPFUSE_FILE
 */
export async function outputPlace(
  input: Input,
  output: string,
  kind: OpenInput['kind'],
  { format, force = false }: PlaceOptions,
): Promise<OutputPlace> {
  const slash = /[/\\]$/.test(output);
  const there = await stat(output);
  const isFolder = slash || there?.isDirectory() === true;
  if (kind === 'onnx' && !isFolder && !['', '.onnx'].includes(endingOfName(output))) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a name that ends in .onnx for the output of ${input.name}, an ONNX model, but received ${output}`,
      { file: output, input: input.name },
    );
  }
  const asked = isFolder || kind === 'onnx' ? format : (format ?? formatOfName(output));
  const place: OutputPlace = {
    file: isFolder ? join(output, outputName(nameOf(input, output), kind, format)) : output,
    format: kind === 'onnx' ? kind : (asked ?? 'safetensors'),
    newFolder: slash && there === undefined ? output : undefined,
  };
  await checkWritable(input, place, force);
  return place;
}

/** Endings of the names of checkpoints and models. Of any other name nothing is cut off: `epoch_12.5` is no `.5` file. */
const ENDING =
  /(\.(safetensors|bin)\.index\.json|\.pth\.tar|\.(pth|pt|ckpt|bin|pkl|pdparams|tar|model|npz|safetensors|onnx))$/i;

/** The name of an output in a folder. */
export function outputName(
  input: string,
  kind: OpenInput['kind'],
  format: OutputSpec['format'] = 'safetensors',
): string {
  return input.replace(ENDING, '') + endingOf(kind === 'onnx' ? kind : format);
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for bytes, which have no name that a file of a folder could take */
function nameOf({ path }: Input, folder: string): string {
  if (path !== undefined) return basename(path);
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected the name of a file for the output of bytes but received the folder ${folder}`,
    { file: folder },
  );
}

async function checkWritable({ path }: Input, { file, newFolder }: OutputPlace, force: boolean): Promise<void> {
  if (newFolder !== undefined) return;
  if (!force) await expectAbsent(file);
  await access(dirname(file), constants.W_OK).catch(cannotWrite(file));
  if (path === undefined || !force) return;
  const [from, to] = [await stat(path), await stat(file)];
  if (from === undefined || to === undefined || from.dev !== to.dev || from.ino !== to.ino) return;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected an output other than the input but received ${file} for both`,
    { file },
  );
}

/** Makes a folder, where it is missing. @throws ERR_REPFUSE_FILE if nothing can be written there */
export async function makeFolder(folder: string): Promise<void> {
  await makeFolders(folder)
    .then(() => access(folder, constants.W_OK))
    .catch(cannotWrite(folder));
}

function cannotWrite(file: string): (cause: Error) => never {
  return (cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot write ${file}: ${cause.message}`, { file }, { cause });
  };
}
