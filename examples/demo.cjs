// The main job, on three really trained networks: read the training checkpoint, fuse it, prove it, write the deploy file,
// classify 500 test images with both forms in native code.
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join, resolve } = require('node:path');
const { convert, evaluate, info, normalizeInput, parseGraph, readCheckpoint, Tensor } = require('repfuse');
const { readGraphMetadata } = require('repfuse/graph');

const FIXTURES = resolve(__dirname, '..', 'test', 'fixtures', 'trained');
const NETWORKS = ['digits-repvgg', 'digits-acnet', 'digits-dbb'];
const ROUNDS = 7;

async function main() {
  const { version, isa, threads, kernels } = info();
  console.log(`repfuse ${version}: ${isa}, ${threads} threads, ${kernels.gemm}\n`);
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-demo-'));
  try {
    const results = [];
    for (const name of NETWORKS) results.push(await runNetwork(name, join(folder, `${name}.safetensors`)));
    printSummary(results);
    if (results.some(({ wrong }) => wrong > 0)) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runNetwork(name, output) {
  const manifest = JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8'));
  const input = join(FIXTURES, manifest.files.checkpoint);
  const graph = { ...manifest.train_graph, inputShape: [1, 8, 8], normalization: { scale: 1 / 16 } };
  const report = await convert(input, output, { graph, verify: true });
  printReport(name, report);

  const train = { graph: parseGraph(graph), tensors: (await readCheckpoint(input)).tensors };
  const model = await readCheckpoint(output);
  const deploy = { graph: readGraphMetadata(model.metadata), tensors: model.tensors };

  const { tensors: test } = await readCheckpoint(join(FIXTURES, manifest.files.test));
  const labels = test.get('labels').data;
  const images = test.get('images');
  const batch = normalizeInput(deploy.graph, Tensor.f32(images.shape, Float32Array.from(images.data)));
  const golden = (await readCheckpoint(join(FIXTURES, manifest.files.tensors))).tensors.get('predictions').data;

  const forms = { train, deploy };
  const times = { train: [], deploy: [] };
  const accuracy = {};
  let wrong = 0;
  for (let round = 0; round < ROUNDS; round++) {
    for (const [form, { graph, tensors }] of Object.entries(forms)) {
      const started = performance.now();
      const logits = evaluate(graph, tensors, batch);
      times[form].push(performance.now() - started);
      if (round > 0) continue;
      const predictions = bestClasses(logits);
      wrong += predictions.filter((digit, i) => digit !== golden[i]).length;
      accuracy[form] = predictions.filter((digit, i) => digit === labels[i]).length / labels.length;
    }
  }
  return {
    name,
    report,
    accuracy,
    wrong,
    train: median(times.train),
    deploy: median(times.deploy),
    images: labels.length,
  };
}

function bestClasses({ shape: [count, classes], data }) {
  return Array.from({ length: count }, (_, i) => {
    const row = data.subarray(i * classes, (i + 1) * classes);
    return row.indexOf(Math.max(...row));
  });
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

function printReport(name, { blocks, verification }) {
  console.log(`${name}: fused and written, read back, compared block by block (error relative to the peak)`);
  const errors = new Map(verification.blocks.map(({ prefix, relative }) => [prefix, relative]));
  for (const { prefix, family, status, branches, parameters } of blocks) {
    const what = `${branches.length} branches, ${parameters.before} -> ${parameters.after} parameters`;
    console.log(
      `  ${prefix.padEnd(16)} ${family.padEnd(7)} ${status}  ${what}, error ${errors.get(prefix).toExponential(1)}`,
    );
  }
  const { equal, network } = verification;
  console.log(`  end to end: error ${network.relative.toExponential(1)}: ${equal ? 'EQUAL' : 'NOT EQUAL'}\n`);
}

function printSummary(results) {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  for (const { name, report, accuracy, wrong, train, deploy, images } of results) {
    const { before, after } = report.parameters;
    console.log(
      `${name.padEnd(14)} ${images} images  accuracy ${percent(accuracy.train)} train, ${percent(accuracy.deploy)} deploy` +
        `  ${wrong === 0 ? 'every prediction as in PyTorch' : `${wrong} PREDICTIONS DIFFER`}`,
    );
    console.log(
      `${''.padEnd(14)} parameters ${before} -> ${after}  time ${train.toFixed(1)} ms train, ${deploy.toFixed(1)} ms deploy` +
        ` (${(train / deploy).toFixed(2)}x)`,
    );
  }
}

main();
