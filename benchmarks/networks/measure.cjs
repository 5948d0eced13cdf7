// One network in a process of its own: node measure.cjs MODEL.onnx VALUES.npz FOLDED.onnx
// Folds the model, runs it in the engine and in onnxruntime-node, and prints as one JSON line what came of each. VALUES has the inputs (in_0, ...) and
// what the model computes of them in float64 (out_0, ...).
const { join } = require('node:path');
const { Engine, foldOnnx, readCheckpoint, readModel, Tensor } = require('repfuse');
const ort = require(join(__dirname, '..', 'baselines', 'node_modules', 'onnxruntime-node'));

/** Tensors `prefix0`, `prefix1`, ... of the values. */
function listOf(values, prefix) {
  const list = [];
  while (values.has(`${prefix}${list.length}`)) list.push(values.get(`${prefix}${list.length}`));
  return list;
}

/** The value of an element: halves lie there as their bits. */
function elementOf(data, k, dtype) {
  if (dtype !== 'F16') return Number(data[k]);
  const [sign, exponent, fraction] = [data[k] >> 15 ? -1 : 1, (data[k] >> 10) & 31, data[k] & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** The largest difference of any output, each relative to the largest value that is expected of it. */
function errorOf(outputs, expected) {
  const errors = outputs.map(({ data, dims, dtype }, i) => {
    const exact = expected[i];
    if (dims.join() !== exact.shape.join()) throw new Error(`output ${i} is [${dims}] but [${exact.shape}] is right`);
    let difference = 0;
    let peak = 0;
    for (let k = 0; k < data.length; k++) {
      const one = Math.abs(elementOf(data, k, dtype) - Number(exact.data[k]));
      if (!(one <= difference)) difference = one; // NaN too
      peak = Math.max(peak, Math.abs(Number(exact.data[k])));
    }
    return difference === 0 ? 0 : difference / peak;
  });
  const most = Math.max(...errors);
  if (Number.isNaN(most)) throw new Error('a result is not a number');
  return most;
}

const ORT_TYPES = { F32: 'float32', F16: 'float16', I64: 'int64', I32: 'int32', U8: 'uint8', BOOL: 'bool' };

async function inOnnxruntime(file, inputs) {
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const feeds = session.inputNames.map((name, i) => {
    const { dtype, data, shape } = inputs[i];
    return [name, new ort.Tensor(ORT_TYPES[dtype], data, shape)];
  });
  const made = await session.run(Object.fromEntries(feeds));
  return session.outputNames.map((name) => {
    const { data, dims, type } = made[name];
    return { data, dims, dtype: type === 'float16' ? 'F16' : type };
  });
}

async function inEngine(file, inputs) {
  const model = await readModel(file);
  const engine = await Engine.create(model, { threads: 1 });
  const names = (model.graph.inputs ?? [{ id: model.graph.input }]).map(({ id }) => id);
  const given = names.length === 1 ? inputs[0] : new Map(names.map((name, i) => [name, inputs[i]]));
  const made = await engine.runAll(given);
  return [...made.values()].map(({ data, shape, dtype }) => ({ data, dims: shape, dtype }));
}

/** What `make` gives, or why it does not. */
async function attempt(make) {
  try {
    return { value: await make() };
  } catch (error) {
    return { problem: String(error.message ?? error).split('\n')[0] };
  }
}

async function main(file, valuesFile, folded) {
  const { tensors } = await readCheckpoint(valuesFile);
  const inputs = listOf(tensors, 'in_').map(({ dtype, shape, data }) => new Tensor(dtype, shape, data));
  const expected = listOf(tensors, 'out_');
  const error = async (run, model) => errorOf(await run(model, inputs), expected);
  const folding = await attempt(() => foldOnnx(file, folded, { force: true }));
  const engine = await attempt(() => error(inEngine, file));
  const onnxruntime = await attempt(() => error(inOnnxruntime, file));
  const foldedInOnnxruntime =
    folding.problem === undefined ? await attempt(() => error(inOnnxruntime, folded)) : folding;
  console.log(JSON.stringify({ engine, onnxruntime, foldedInOnnxruntime, folding: folding.problem ?? null }));
}

main(...process.argv.slice(2)).then(() => process.exit(0));
