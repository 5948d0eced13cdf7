import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import bindings from 'bindings';
import { RepfuseError } from '../errors';
import type { Addon } from './addon';
import { platformPackage } from './platform-packages';

const PACKAGE_ROOT = resolve(__dirname, '..', '..');

/** One way to find the binary that failed, and why. */
interface Attempt {
  readonly from: string;
  readonly error: Error;
}

/** The binary in use and how it was found. */
export interface AddonOrigin {
  /** Its file, or the package that it is in. */
  readonly path: string;
  /** `REPFUSE_NATIVE_PATH`, `local build` or `package`. */
  readonly from: string;
}

let loaded: { readonly addon: Addon; readonly origin: AddonOrigin } | undefined;

/**
 * The native addon, loaded on first use and never on import: the file that `REPFUSE_NATIVE_PATH` names, else a local build
 * found by `bindings`, else the package of this platform. Honours `REPFUSE_ISA`.
 *
 * @throws ERR_REPFUSE_NO_NATIVE with every cause tried and the command that helps; ERR_REPFUSE_NATIVE when
 *   `REPFUSE_ISA` asks for a level that this machine lacks.
 */
export function loadAddon(): Addon {
  return load().addon;
}

/** Which binary is in use. @throws as `loadAddon` */
export function addonOrigin(): AddonOrigin {
  return load().origin;
}

function load(): { readonly addon: Addon; readonly origin: AddonOrigin } {
  if (loaded === undefined) {
    const found = findAddon();
    const { addon } = found;
    const forced = process.env.REPFUSE_ISA;
    if (forced !== undefined && forced !== '' && !addon.setIsa(forced)) {
      throw new RepfuseError(
        'ERR_REPFUSE_NATIVE',
        `Expected one of ${addon.info().isasAvailable.join(', ')} for REPFUSE_ISA but received ${JSON.stringify(forced)}`,
        { isa: forced, available: addon.info().isasAvailable },
      );
    }
    loaded = found;
  }
  return loaded;
}

function findAddon(): { readonly addon: Addon; readonly origin: AddonOrigin } {
  const attempts: Attempt[] = [];
  const forcedPath = process.env.REPFUSE_NATIVE_PATH;
  if (forcedPath !== undefined && forcedPath !== '') {
    const path = resolve(forcedPath);
    const addon = attempt(attempts, `REPFUSE_NATIVE_PATH=${forcedPath}`, () => require(path));
    if (addon !== undefined) return { addon: addon as Addon, origin: { path, from: 'REPFUSE_NATIVE_PATH' } };
    throw noNativeError(attempts); // another binary than the one that was asked for would be a surprise
  }
  // Not walking the stack for the module root: it fails once the package is bundled.
  const addon = attempt(attempts, 'local build', () => bindings({ bindings: 'repfuse', module_root: PACKAGE_ROOT }));
  if (addon !== undefined) {
    // `bindings` notes on the exports where it found them.
    return { addon: addon as Addon, origin: { path: (addon as { path: string }).path, from: 'local build' } };
  }
  const ours = platformPackage();
  const packaged = ours && attempt(attempts, ours.name, ours.load);
  if (packaged !== undefined) return { addon: packaged as Addon, origin: { path: ours!.name, from: 'package' } };
  throw noNativeError(attempts);
}

function attempt(attempts: Attempt[], from: string, load: () => unknown): unknown {
  try {
    return expectAddon(load());
  } catch (error) {
    attempts.push({ from, error: error as Error });
    return undefined;
  }
}

/** A file that Node can load need not be an addon, nor of repfuse. */
function expectAddon(loaded: unknown): unknown {
  const { info, setIsa, engineBuilder } = (loaded ?? {}) as Partial<Addon>;
  if ([info, setIsa, engineBuilder].every((member) => typeof member === 'function')) return loaded;
  throw new Error('it is no native addon of repfuse');
}

function noNativeError(attempts: readonly Attempt[]): RepfuseError {
  const causes = attempts.map(({ from, error }) => `  ${from}: ${firstLine(error)}`);
  const solutions = attempts.flatMap(({ error }) => solutionsFor(error));
  return new RepfuseError(
    'ERR_REPFUSE_NO_NATIVE',
    [
      `Could not load the native addon of repfuse on ${process.platform}-${process.arch}, Node ${process.version}. Tried:`,
      ...causes,
      'Possible solutions:',
      ...[...new Set(solutions)].map((text) => `  - ${text}`),
    ].join('\n'),
    { attempts: attempts.map(({ from, error }) => ({ from, code: codeOf(error), message: error.message })) },
    { cause: attempts.at(-1)?.error },
  );
}

function firstLine(error: Error): string {
  // `bindings` lists every path it tried, one a line; the package's own places are what matters.
  return error.message.split('\n')[0] ?? error.message;
}

function codeOf(error: Error): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function solutionsFor(error: Error): string[] {
  const text = error.message;
  const found: string[] = [];
  if (codeOf(error) === 'ERR_DLOPEN_DISABLED') {
    found.push('native addons are switched off (--no-addons): start Node without that option');
  }
  const glibc = /version `?(GLIBC(?:XX)?_[\d.]+)'? not found/.exec(text);
  if (glibc) found.push(`the binary wants ${glibc[1]}, newer than this system has: rebuild it here (npm run build)`);
  if (
    /wrong ELF class|invalid ELF header|file too short|cannot open shared object|Module did not self-register|undefined symbol/.test(
      text,
    )
  ) {
    found.push('the binary was built for another system or is damaged: rebuild it here (npm run build)');
  }
  const sources = existsSync(resolve(PACKAGE_ROOT, 'native', 'sources.json'));
  found.push(
    sources
      ? `build it from source (needs python3, make and g++): npx repfuse build-native, or in a clone npm run build`
      : 'reinstall the package: its native sources are missing',
  );
  return found;
}
