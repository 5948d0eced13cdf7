import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import { type Schema, value } from '../../arguments/schemas';
import { show } from '../../arguments/show';
import { RepfuseError } from '../../errors';

/** Where the bytes of an input come from: a path, a `file:` URL, or the bytes themselves, to be left alone until the call has settled. */
export type Source = string | URL | Uint8Array | ArrayBuffer;

/** An input whose kind of source is settled: it has either a path or bytes. */
export type Input =
  | { readonly name: string; readonly path: string; readonly bytes?: undefined }
  | { readonly name: string; readonly path?: undefined; readonly bytes: Uint8Array };

/** No system takes a longer one. */
const LONGEST_PATH = 4096;

/** What reports and errors call an input that has no path. */
const BYTES = '(bytes)';

export const PATH: Schema<string | URL> = value('a path or a file: URL', (given) => toPath(given) !== undefined);

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for what is no source, `argument` naming it */
export function inputOf(source: Source, argument = 'file'): Input {
  if (types.isUint8Array(source)) return { name: BYTES, bytes: source };
  if (types.isAnyArrayBuffer(source)) return { name: BYTES, bytes: new Uint8Array(source) };
  const path = toPath(source);
  if (path === undefined) throw refused('a path, a file: URL, a Uint8Array or an ArrayBuffer', argument, source);
  return { name: path, path };
}

/** The path of a file that is written, or that must have a name. @throws ERR_REPFUSE_INVALID_ARGUMENT for what is none */
export function pathOf(file: string | URL, argument = 'file'): string {
  const path = toPath(file);
  if (path === undefined) throw refused('a path or a file: URL', argument, file);
  return path;
}

/** Looking at a Proxy may throw. */
export function isURL(given: unknown): given is URL {
  return !types.isProxy(given) && given instanceof URL;
}

function toPath(given: unknown): string | undefined {
  if (isURL(given)) {
    try {
      return fileURLToPath(given);
    } catch {
      return undefined; // of another protocol, or of another host
    }
  }
  const isPath = typeof given === 'string' && given !== '' && given.length <= LONGEST_PATH && !given.includes('\0');
  return isPath ? given : undefined;
}

function refused(expected: string, argument: string, received: unknown): RepfuseError {
  const shown = isURL(received) ? `the URL ${show(received.href)}` : show(received);
  return new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected ${expected} for ${argument} but received ${shown}`,
    { argument },
  );
}
