import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(__dirname, '..', '..');
/** The command as a user starts it: dist/cli/main.js in a child process. */
export const MAIN = join(ROOT, 'dist', 'cli', 'main.js');

/** The clone's own paths, so that the examples of the help and of docs/ work word for word. */
const LINKS = ['examples', 'test'];

/** The environment of a child process in another folder: a relative path to the binary is the clone's. */
export function childEnvironment(): NodeJS.ProcessEnv {
  const binary = process.env.REPFUSE_NATIVE_PATH;
  return { ...process.env, ...(binary ? { REPFUSE_NATIVE_PATH: resolve(ROOT, binary) } : {}) };
}

/** A folder of its own for every test, with the clone's examples and fixtures in it. */
export function workplace() {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'repfuse-cli-'));
    for (const name of LINKS) symlinkSync(join(ROOT, name), join(folder, name));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const node = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: folder,
      encoding: 'utf8',
      env: { ...childEnvironment(), ...env },
    });
    return { status, stdout, stderr };
  };
  return {
    path: (name = '.') => join(folder, name),
    /** What the tests have put there. */
    names: () => readdirSync(folder).filter((name) => !LINKS.includes(name)),
    node,
    repfuse: (...args: readonly string[]) => node([MAIN, ...args]),
  };
}
