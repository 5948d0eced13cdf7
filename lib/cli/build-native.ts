import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { RepfuseError } from '../errors';
import type { Session } from './session';

const PACKAGE_ROOT = resolve(__dirname, '..', '..');

export function buildNativeCommand(session: Session): Command {
  return new Command('build-native')
    .description('Compile the native addon from the sources that the package ships (needs python3, make and g++).')
    .addHelpText('after', '\nExample:\n  $ repfuse build-native')
    .action(async () => {
      await session.run(async () => {
        session.note(`building in ${PACKAGE_ROOT} ...`);
        session.result(buildNative());
      });
    });
}

/** @returns the path of the binary. @throws ERR_REPFUSE_NATIVE; what the build says goes to stderr */
function buildNative(): string {
  const nodeGyp = findNodeGyp();
  if (nodeGyp === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_NATIVE',
      'Expected node-gyp but it was not found: npm install --no-save node-gyp, then try again',
    );
  }
  // The headers of this Node, where it brought them along: nothing is downloaded then.
  const headers = resolve(dirname(process.execPath), '..');
  const nodedir = existsSync(join(headers, 'include', 'node', 'node.h')) ? [`--nodedir=${headers}`] : [];
  const args = [nodeGyp, 'rebuild', '--directory', join(PACKAGE_ROOT, 'native'), '--loglevel=error', ...nodedir];
  const { status, signal, error } = spawnSync(process.execPath, args, { stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    const how = error?.message ?? (signal === null ? `exit code ${status}` : signal);
    throw new RepfuseError(
      'ERR_REPFUSE_NATIVE',
      `The build failed (${how}): it needs python3, make and a C++20 compiler, see repfuse doctor`,
      { status, signal },
    );
  }
  const target = join(PACKAGE_ROOT, 'build', 'Release', 'repfuse.node');
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(join(PACKAGE_ROOT, 'native', 'build', 'Release', 'repfuse.node'), target);
  return target;
}

/** node-gyp beside this package, in the user's project, or the one inside npm. */
export function findNodeGyp(): string | undefined {
  const npm = dirname(dirname(process.env.npm_execpath ?? ''));
  const places = [
    join(PACKAGE_ROOT, 'node_modules'),
    resolve(PACKAGE_ROOT, '..'),
    join(process.cwd(), 'node_modules'),
    join(npm, 'node_modules'),
    resolve(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'node_modules'),
    '/usr/share/nodejs',
  ];
  return places.map((place) => join(place, 'node-gyp', 'bin', 'node-gyp.js')).find((path) => existsSync(path));
}
