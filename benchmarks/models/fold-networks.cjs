// The networks of ../networks/networks.json that hold BatchNormalizations, given and folded, in onnxruntime-node. First the nodes that it runs of each,
// after its own optimizations: where they are the same, there is nothing to time. Where they differ, both are timed in turn, in one process, one image,
// session options as they are but for the threads. Files lie in REPFUSE_NETWORKS, made by `npm run networks`; REPFUSE_FOLD names some of them, which
// are timed in any case.
const { existsSync, mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { convert, inspect, readCheckpoint } = require('repfuse');
const { median } = require('../interleave.cjs');
const { FOLDER, ROWS } = require('../networks/rows.cjs');

const ROUNDS = 15;
/** A short network runs several times in a round. */
const ROUND_MILLISECONDS = 10;
const THREADS = [1, 2];
/** Below this ratio of given to folded a network is measured again. */
const SUSPICIOUS = 0.97;
const MEASURED_AGAIN = 2;

const median2 = (values) => Number(median(values).toPrecision(4));

async function feedsOf(ort, file) {
  const { tensors } = await readCheckpoint(file);
  return (names) =>
    Object.fromEntries(
      names.map((name, i) => {
        const { dtype, shape, data } = tensors.get(`in_${i}`);
        const type = { F32: 'float32', F64: 'float64', I64: 'int64', I32: 'int32', U8: 'uint8', BOOL: 'bool' }[dtype];
        return [name, new ort.Tensor(type, data, shape)];
      }),
    );
}

/** Median milliseconds of each form, and the median of the ratios of the rounds. */
async function timeForms(ort, files, feeds, threads) {
  const options = { intraOpNumThreads: threads, logSeverityLevel: 3 };
  const sessions = [];
  for (const file of files) sessions.push(await ort.InferenceSession.create(file, options));
  const given = feeds(sessions[0].inputNames);
  let runs = 1;
  const time = async (session) => {
    const started = performance.now();
    for (let run = 0; run < runs; run++) await session.run(given);
    return (performance.now() - started) / runs;
  };
  for (const session of sessions) await time(session);
  runs = Math.ceil(ROUND_MILLISECONDS / (await time(sessions[0])));
  const times = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    for (const form of round % 2 === 0 ? [0, 1] : [1, 0]) times[form].push(await time(sessions[form]));
  }
  for (const session of sessions) await session.release();
  const ratio = median2(times[0].map((before, round) => before / times[1][round]));
  return { given: median2(times[0]), folded: median2(times[1]), ratio };
}

/** How many nodes of each operator onnxruntime runs of a file, after its own optimizations. */
async function nodesRun(ort, file, folder) {
  const optimizedModelFilePath = join(folder, 'optimized.onnx');
  const session = await ort.InferenceSession.create(file, { optimizedModelFilePath, logSeverityLevel: 3 });
  await session.release();
  const { operators } = await inspect(optimizedModelFilePath);
  return new Map(operators.map(({ operator, count }) => [operator, count]));
}

/** The operators of which the two run different numbers: `[operator, given, folded]`. */
function differences(given, folded) {
  return [...new Set([...given.keys(), ...folded.keys()])]
    .map((operator) => [operator, given.get(operator) ?? 0, folded.get(operator) ?? 0])
    .filter(([, before, after]) => before !== after);
}

async function timeNetwork(ort, { id }, folder, isAsked, print) {
  const [given, values, folded] = [join(FOLDER, `${id}.onnx`), join(FOLDER, `${id}.npz`), join(folder, 'folded.onnx')];
  const report = await convert(given, folded, { force: true });
  const { batchNorms, convolutions, nodes } = report;
  if (batchNorms.before === 0 || report.folded.length === 0) return undefined;
  const differs = differences(await nodesRun(ort, given, folder), await nodesRun(ort, folded, folder));
  const told = differs.map(([operator, before, after]) => `${operator} ${before} -> ${after}`).join(', ');
  const head = `${id.padEnd(40)} BN ${batchNorms.before} -> ${batchNorms.after}  onnxruntime runs ${told || 'the same nodes'}`;
  const row = { id, batchNorms, convolutions, nodes, differs };
  if (differs.length === 0 && !isAsked) {
    print(head);
    return row;
  }
  const feeds = await feedsOf(ort, values);
  const measured = {};
  for (const threads of THREADS) {
    const tries = [await timeForms(ort, [given, folded], feeds, threads)];
    // Not the best of all, but the middle: a machine that others use slows one form or the other now and then.
    if (tries[0].ratio < SUSPICIOUS)
      for (let i = 0; i < MEASURED_AGAIN; i++) tries.push(await timeForms(ort, [given, folded], feeds, threads));
    tries.sort((a, b) => a.ratio - b.ratio);
    measured[`threads${threads}`] = tries[tries.length >> 1];
  }
  const times = Object.values(measured).map((each) => `${each.given} -> ${each.folded} ms (${each.ratio})`);
  print(`${head}: ${times.join('; ')}`);
  return { ...row, ...measured };
}

async function timeNetworks(ort, print) {
  const names = process.env.REPFUSE_FOLD?.split(',');
  const rows = [];
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-fold-'));
  try {
    for (const row of ROWS.filter(({ id }) => names === undefined || names.some((name) => id.includes(name)))) {
      if (!existsSync(join(FOLDER, `${row.id}.npz`))) {
        print(`${row.id.padEnd(40)} not there: npm run networks`);
        continue;
      }
      try {
        const measured = await timeNetwork(ort, row, folder, names !== undefined, print);
        if (measured !== undefined) rows.push(measured);
      } catch (error) {
        print(`${row.id.padEnd(40)} ${error.message.slice(0, 200)}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return rows;
}

module.exports = { timeNetworks };
