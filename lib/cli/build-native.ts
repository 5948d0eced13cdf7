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

/** @returns the path of the binary. @throws ERR_REPFUSE_NATIVE with the build's output */
function buildNative(): string {
  const headers = resolve(dirname(process.execPath), '..');
  const nodedir = existsSync(join(headers, 'include', 'node', 'node.h')) ? [`--nodedir=${headers}`] : [];
  const args = [findNodeGyp(), 'rebuild', '--directory', join(PACKAGE_ROOT, 'native'), '--loglevel=error', ...nodedir];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: PACKAGE_ROOT, encoding: 'utf8' });
  if (status !== 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_NATIVE',
      `node-gyp failed with exit code ${status}:\n${(stdout + stderr).slice(-4000)}`,
      { status },
    );
  }
  const target = join(PACKAGE_ROOT, 'build', 'Release', 'repfuse.node');
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(join(PACKAGE_ROOT, 'native', 'build', 'Release', 'repfuse.node'), target);
  return target;
}

/** node-gyp beside this package, in the user's project, or the one inside npm. */
function findNodeGyp(): string {
  const script = join('node-gyp', 'bin', 'node-gyp.js');
  const npm = dirname(dirname(process.env.npm_execpath ?? ''));
  const places = [
    join(PACKAGE_ROOT, 'node_modules'),
    resolve(PACKAGE_ROOT, '..'),
    join(process.cwd(), 'node_modules'),
    join(npm, 'node_modules'),
    resolve(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'node_modules'),
    '/usr/share/nodejs',
  ];
  const found = places.map((place) => join(place, script)).find((path) => existsSync(path));
  if (found === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_NATIVE',
      'Expected node-gyp but it was not found: npm install --no-save node-gyp, then try again',
      { places },
    );
  }
  return found;
}
