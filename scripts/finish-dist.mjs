// After tsc: the ESM wrapper over the one CommonJS copy, its types, and the run bit of the command.
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = resolve(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const names = Object.keys(createRequire(import.meta.url)(join(dist, 'index.js'))).sort();

// One real copy: two would mean two RepfuseError classes.
writeFileSync(
  join(dist, 'index.mjs'),
  `import repfuse from './index.js';\nexport const {\n${names.map((name) => `  ${name},\n`).join('')}} = repfuse;\n`,
);
writeFileSync(join(dist, 'index.d.mts'), `export * from './index.js';\n`);
const main = join(dist, 'cli', 'main.js');
if (existsSync(main)) chmodSync(main, 0o755);
