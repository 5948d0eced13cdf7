// After tsc: the ESM wrapper over the one CommonJS copy, its types, and the command.
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const dist = resolve(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const names = Object.keys(createRequire(import.meta.url)(join(dist, 'index.js'))).sort();

// One real copy: two would mean two RepfuseError classes.
writeFileSync(
  join(dist, 'index.mjs'),
  `import repfuse from './index.js';\nexport const {\n${names.map((name) => `  ${name},\n`).join('')}} = repfuse;\n`,
);
writeFileSync(join(dist, 'index.d.mts'), `export * from './index.js';\n`);
// The command in one file: loading a hundred takes longer than converting a small checkpoint.
const cli = join(dist, 'cli');
const main = join(cli, 'main.js');
const bundle = await build({
  entryPoints: [main],
  bundle: true,
  platform: 'node',
  target: 'node20',
  packages: 'external',
  write: false,
  minifyWhitespace: true,
});
rmSync(cli, { recursive: true });
mkdirSync(cli);
writeFileSync(main, bundle.outputFiles[0].contents);
chmodSync(main, 0o755);
