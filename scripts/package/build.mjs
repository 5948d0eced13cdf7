// usage: npm run package -- TARGET...   Builds the binary of each target on a Linux machine, and its package, npm/TARGET, to be published.
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TARGETS } from './targets.mjs';
import { installZig } from './zig.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const require = createRequire(join(root, 'package.json'));
const run = promisify(execFile);
/** Bytes of a binary, stripped. */
const MAX_BYTES = 2_500_000;
const { version, license, engines } = require('./package.json');
const { sources } = require('./native/sources.json');
/** As both builds by node-gyp have them. */
const { defines, cflags_cc: cflags } = readGypi('repfuse.gypi').target_defaults;
const INCLUDES = [
  join(root, 'native', 'include'),
  dirname(require.resolve('node-addon-api/napi.h')),
  require('node-api-headers').include_dir,
];

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in TARGETS));
if (names.length === 0 || unknown.length > 0) {
  console.error(`usage: npm run package -- TARGET...   of ${Object.keys(TARGETS).join(', ')}`);
  process.exit(1);
}
const zig = installZig(join(root, 'build', 'zig'));
for (const name of names) await writePackage(name, TARGETS[name]);

/** JSON with comments on lines of their own. */
function readGypi(name) {
  return JSON.parse(readFileSync(join(root, 'native', name), 'utf8').replaceAll(/^\s*#.*$/gm, ''));
}

async function writePackage(name, target) {
  const binary = await build(name, target);
  const { size } = statSync(binary);
  if (size > MAX_BYTES) throw new Error(`Expected at most ${MAX_BYTES} bytes for ${binary} but received ${size}`);
  const folder = join(root, 'npm', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  copyFileSync(binary, join(folder, 'repfuse.node'));
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifestOf(name, target), undefined, 2)}\n`);
  writeFileSync(
    join(folder, 'README.md'),
    `The native addon of [repfuse](https://www.npmjs.com/package/repfuse) on ${name}.\n`,
  );
  console.log(`npm/${name}: ${size} bytes`);
}

function manifestOf(name, { os, cpu, libc }) {
  return {
    name: `@repfuse/${name}`,
    version,
    description: `The native addon of repfuse on ${name}`,
    license,
    main: 'repfuse.node',
    files: ['repfuse.node'],
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc === undefined ? {} : { libc: [libc] }),
    preferUnplugged: true,
  };
}

/** @returns the stripped binary */
async function build(name, { zig: target }) {
  const folder = join(root, 'build', 'package', name);
  mkdirSync(folder, { recursive: true });
  const flags = [
    ...['-target', target, '-fPIC', ...cflags],
    ...defines.map((define) => `-D${define}`),
    ...INCLUDES.flatMap((include) => ['-I', include]),
  ];
  const objects = sources.map((source) => join(folder, source.replaceAll('/', '_').replace(/\.cc$/, '.o')));
  const left = sources.map((source, i) => [source, objects[i]]);
  const compile = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [source, object] = next;
      await run(zig, ['c++', ...flags, '-c', source, '-o', object], { cwd: root });
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, compile));
  const binary = join(folder, 'repfuse.node');
  // As native/repfuse.gypi: nodelete, as the pool's threads outlive the last environment.
  const link = ['-shared', '-s', '-Wl,-Bsymbolic', '-Wl,-z,nodelete', '-Wl,--gc-sections'];
  await run(zig, ['c++', '-target', target, ...link, '-o', binary, ...objects], { cwd: root });
  return binary;
}
