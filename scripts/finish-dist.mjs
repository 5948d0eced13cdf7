// After tsc, which writes declarations: the library and the command in one file each, a door for each of package.json's `exports`.
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import ts from 'typescript';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
/** Packages whose used part, a tenth, goes into the files: loading all of one takes longer than an inspection. Their licences go along. */
const INLINED = {
  valibot: () => textOf('valibot/LICENSE.md'),
  // Has no file of its own for the licences that its package.json names: the notices of its sources, and the text that they lead to.
  '@bufbuild/protobuf': () =>
    [
      noticeOf('@bufbuild/protobuf/dist/esm/index.js'),
      noticeOf('@bufbuild/protobuf/dist/esm/wire/varint.js'),
      textOf('typescript/LICENSE.txt'),
    ].join('\n'),
};
const { dependencies, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const external = Object.keys(dependencies).filter((name) => !(name in INLINED));
/** What the sub-paths load, without extension: `index`, `graph/public`. */
const doors = Object.values(exports)
  .filter((target) => target.require !== undefined)
  .map(({ require: { default: file } }) => relative('dist', file).replace(/\.js$/, ''));

// The library and the command in one file each: loading a hundred takes longer than converting a small checkpoint, or running a small
// network. All doors lead into one file: two copies would mean two RepfuseError classes.
const library = join(dist, 'bundle', 'index.js');
const namespaces = doors.map((door) => `export * as ${nameOf(door)} from './lib/${door}';\n`).join('');
const worker = `export * as batchWorker from './lib/convert/batch/worker';\n`;
await bundle({ stdin: { contents: namespaces + worker, resolveDir: root, loader: 'ts' } }, library);
// What the threads of a batch load, of the library and of the command.
writeFileSync(join(dirname(library), 'batch-worker.js'), "require('./index.js').batchWorker.serveBatch();\n");
await bundle({ entryPoints: [join(root, 'lib', 'cli', 'main.ts')] }, join(dist, 'cli', 'main.js'));
chmodSync(join(dist, 'cli', 'main.js'), 0o755);
for (const [name, licence] of Object.entries(INLINED))
  writeFileSync(join(dist, `LICENSE.${name.replace(/^@/, '').replace('/', '-')}.md`), licence());
for (const door of doors) openDoor(door);
removeUnreferencedDeclarations(doors.map((door) => join(dist, `${door}.d.ts`)));

function textOf(file) {
  return readFileSync(join(root, 'node_modules', file), 'utf8');
}

/** The comment at the top of a source. */
function noticeOf(file) {
  return /^(\/\/.*\n)+/.exec(textOf(file))[0].replaceAll(/^\/\/ ?/gm, '');
}

function nameOf(door) {
  return door.replace('/', '_');
}

/** CommonJS and ESM over the bundle, and the types of the latter. */
function openDoor(door) {
  const file = join(dist, door);
  const toBundle = relative(dirname(file), library).replace(/^(?!\.)/, './');
  writeFileSync(`${file}.js`, `module.exports = require('${toBundle}').${nameOf(door)};\n`);
  const names = Object.keys(createRequire(import.meta.url)(`${file}.js`)).sort();
  const base = door.split('/').at(-1);
  writeFileSync(
    `${file}.mjs`,
    `import door from './${base}.js';\nexport const {\n${names.map((name) => `  ${name},\n`).join('')}} = door;\n`,
  );
  writeFileSync(`${file}.d.mts`, `export * from './${base}.js';\n`);
}

/** Puts an entry and all that it requires of ours into one file, alone in its folder. */
async function bundle(entry, file) {
  const { outputFiles } = await build({
    ...entry,
    bundle: true,
    platform: 'node',
    target: 'node20',
    external: ['@repfuse/*', ...external.flatMap((name) => [name, `${name}/*`])],
    write: false,
    // Lines as they are: Node shows the line of an uncaught error, and a file of one line is all of it.
    legalComments: 'none',
    logOverride: { 'ignored-bare-import': 'silent' }, // of types that are declared globally
  });
  rmSync(dirname(file), { recursive: true, force: true });
  mkdirSync(dirname(file));
  writeFileSync(file, withClassNames(outputFiles[0].text));
}

/** esbuild writes `Tensor = class _Tensor` where a class speaks of itself; what people see of it is the second name. */
function withClassNames(code) {
  const classes = new Set(Array.from(code.matchAll(/\b(\w+) = class _\1\b/g), ([, name]) => name));
  return code.replace(/\b_(\w+)\b/g, (text, name) => (classes.has(name) ? name : text));
}

/** Leaves the declarations that the doors' types lead to. */
function removeUnreferencedDeclarations(entries) {
  const reached = new Set(entries);
  for (const file of reached) {
    for (const { fileName } of ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles) {
      if (!fileName.startsWith('.')) continue;
      const path = resolve(dirname(file), fileName);
      reached.add([`${path}.d.ts`, join(path, 'index.d.ts')].find((candidate) => ts.sys.fileExists(candidate)));
    }
  }
  for (const name of readdirSync(dist, { recursive: true })) {
    const file = join(dist, name);
    if (name.endsWith('.d.ts') && !reached.has(file)) rmSync(file);
  }
  for (const name of readdirSync(dist)) {
    const folder = join(dist, name);
    if (
      ts.sys.directoryExists(folder) &&
      readdirSync(folder, { recursive: true, withFileTypes: true }).every((entry) => entry.isDirectory())
    )
      rmSync(folder, { recursive: true });
  }
}
