// usage: npm run bench [-- fuse conv2d convert batch nets service kernels precision fold real start layers]      Runs the benchmarks, prints a table, writes benchmarks/results/<name>.json.
const { mkdirSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { describeMachine } = require('./machine.cjs');

const BENCHMARKS = {
  fuse: './kernels/fuse.cjs',
  conv2d: './kernels/conv2d.cjs',
  convert: './conversion/convert.cjs',
  batch: './conversion/batch.cjs',
  nets: './models/nets.cjs',
  service: './models/service.cjs',
  kernels: './kernels/native.cjs',
  precision: './kernels/precision.cjs',
  fold: './models/fold.cjs',
  real: './models/real.cjs',
  start: './models/start.cjs',
  layers: './models/layers.cjs',
};

async function main(names) {
  const unknown = names.filter((name) => !(name in BENCHMARKS));
  if (unknown.length > 0) {
    console.error(`Expected some of ${Object.keys(BENCHMARKS).join(', ')} but received ${unknown.join(', ')}`);
    process.exitCode = 2;
    return;
  }
  const machine = describeMachine();
  console.log(
    `${machine.cpu}, ${machine.cpus} CPUs, Node ${machine.node}, repfuse ${machine.version} (${machine.commit})`,
  );
  const folder = join(__dirname, 'results');
  mkdirSync(folder, { recursive: true });
  for (const name of names.length > 0 ? names : Object.keys(BENCHMARKS)) {
    console.log(`\n== ${name}`);
    const { description, ...results } = await require(BENCHMARKS[name]).run(console.log);
    writeFileSync(
      join(folder, `${name}.json`),
      `${JSON.stringify({ benchmark: name, description, machine, ...results }, null, 2)}\n`,
    );
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
