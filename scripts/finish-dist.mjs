// After tsc: the ESM wrapper over the one CommonJS copy, its types, the library and the command in one file each.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
/** The part of it that is used, a tenth, goes into the files: loading all of it would take as long as an inspection. */
const INLINED = 'valibot';
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const external = Object.keys(dependencies).filter((name) => name !== INLINED);

// The library and the command in one file each: loading a hundred takes longer than converting a small checkpoint, or running a small network.
await bundle(join(root, 'lib', 'index.ts'), join(dist, 'bundle', 'index.js'));
writeFileSync(join(dist, 'index.js'), "module.exports = require('./bundle/index.js');\n");
await bundle(join(root, 'lib', 'cli', 'main.ts'), join(dist, 'cli', 'main.js'));
chmodSync(join(dist, 'cli', 'main.js'), 0o755);
copyFileSync(join(root, 'node_modules', INLINED, 'LICENSE.md'), join(dist, `LICENSE.${INLINED}.md`));

// One real copy: two would mean two RepfuseError classes.
const names = Object.keys(createRequire(import.meta.url)(join(dist, 'index.js'))).sort();
writeFileSync(
  join(dist, 'index.mjs'),
  `import repfuse from './index.js';\nexport const {\n${names.map((name) => `  ${name},\n`).join('')}} = repfuse;\n`,
);
writeFileSync(join(dist, 'index.d.mts'), `export * from './index.js';\n`);

/** Puts a file and all that it requires of ours into one, alone in its folder. */
async function bundle(entry, file) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    target: 'node20',
    external: external.flatMap((name) => [name, `${name}/*`]),
    write: false,
    // Lines as they are: Node shows the line of an uncaught error, and a file of one line is all of it.
    legalComments: 'none',
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
