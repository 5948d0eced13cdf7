import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, workplace } from './command';

const { path, node } = workplace();

/** An installed package without a binary, beside a node-gyp that does `script` in place of minutes of compiling. */
function installWith(script: string): void {
  const home = path('node_modules/repfuse');
  mkdirSync(home, { recursive: true });
  for (const part of ['dist', 'package.json']) cpSync(join(ROOT, part), join(home, part), { recursive: true });
  mkdirSync(join(home, 'native'));
  mkdirSync(path('node_modules/@bufbuild'));
  for (const name of ['@bufbuild/protobuf', 'bindings', 'commander', 'file-uri-to-path', 'yauzl', 'pend'])
    symlinkSync(join(ROOT, 'node_modules', name), path(`node_modules/${name}`));
  mkdirSync(path('node_modules/node-gyp/bin'), { recursive: true });
  writeFileSync(path('node_modules/node-gyp/bin/node-gyp.js'), script);
}

const binary = process.env.REPFUSE_NATIVE_PATH || 'build/Release/repfuse.node';
const repfuse = (...args: string[]) =>
  node([path('node_modules/repfuse/dist/cli/main.js'), ...args], { REPFUSE_NATIVE_PATH: '' });

test('compiles in native/ of the package, and the addon is found from then on', () => {
  installWith(`
    const { copyFileSync, mkdirSync } = require('node:fs');
    const folder = process.argv[process.argv.indexOf('--directory') + 1];
    console.log('compiling', process.argv[2]);
    mkdirSync(folder + '/build/Release', { recursive: true });
    copyFileSync(${JSON.stringify(join(ROOT, binary))}, folder + '/build/Release/repfuse.node');`);
  expect(repfuse('doctor').status).toBe(1);
  const { status, stdout, stderr } = repfuse('build-native');
  const target = path('node_modules/repfuse/build/Release/repfuse.node');
  expect({ status, stdout }).toEqual({ status: 0, stdout: `${target}\n` });
  expect(stderr).toContain('compiling rebuild');
  expect(existsSync(target)).toBe(true);
  expect(repfuse('doctor')).toMatchObject({ status: 0, stdout: expect.stringContaining(`loaded from ${target}`) });
});

test('a build that fails ends with 1, its output and what it needs', () => {
  installWith(`console.error('gyp ERR! no compiler'); process.exit(7);`);
  const { status, stdout, stderr } = repfuse('build-native');
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toContain('gyp ERR! no compiler');
  expect(stderr).toMatch(/ERR_REPFUSE_NATIVE: The build failed \(exit code 7\): it needs python3, make/);
});
