// Gives one hostile file to the product in one way, in a process of its own, and prints what came of it as JSON:
// node attempt.cjs DIST HOW '{"path", "checkpoint", "input": {"shape", "data"} | null}' FOLDER
const { existsSync, readFileSync, statSync } = require('node:fs');
const { join } = require('node:path');

const [dist, how, attempt, folder] = process.argv.slice(2);
const repfuse = require(dist);
const { path, checkpoint, input } = JSON.parse(attempt);
const output = join(folder, 'out');

/** The given images, or some of the model's own size. */
function imagesFor({ inputShape }) {
  const shape = input?.shape ?? [1, ...(inputShape ?? [3, 8, 8])];
  const size = shape.reduce((product, each) => product * each, 1);
  const data = input?.data ?? Array.from({ length: size }, (_, i) => ((i * 37) % 101) / 50 - 1);
  return new repfuse.Tensor('F32', shape, Float32Array.from(data));
}

/** All outputs, one after the other. */
async function run(model, options = {}) {
  const engine = await repfuse.Engine.create(model, options);
  const outputs = await engine.runAll(imagesFor(model.graph));
  engine.dispose();
  return [...outputs.values()].flatMap(({ data }) => [...data]);
}

/** Of resident memory. VmHWM is of this program alone; maxRSS, where there is no such file, begins with what the parent had. */
function mostMegabytes() {
  const status = '/proc/self/status';
  if (!existsSync(status)) return process.resourceUsage().maxRSS / 1024;
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(status, 'utf8'))[1]) / 1024;
}

const WAYS = {
  engine: async () => ({ values: await run(await repfuse.readModel(path)) }),
  async fold() {
    const { output: written } = await repfuse.foldOnnx(path, `${output}.onnx`, { force: true });
    if (written === null) return {};
    // What was written is read again; where the given model runs, it runs too.
    await repfuse.foldOnnx(written, `${output}-again.onnx`, { force: true });
    const given = await repfuse
      .readModel(path)
      .then((model) => run(model))
      .catch((error) => {
        if (error instanceof repfuse.RepfuseError) return undefined;
        throw error;
      });
    return given === undefined ? {} : { given, values: await run(await repfuse.readModel(written)) };
  },
  async graph() {
    const graph = repfuse.parseGraph(JSON.parse(readFileSync(path, 'utf8')));
    const { tensors } = await repfuse.readCheckpoint(checkpoint);
    const given = await run({ graph, tensors }, { algorithm: 'direct' });
    return { given, values: await run({ graph, tensors }) };
  },
  async convert() {
    await repfuse.convert(path, `${output}.safetensors`, { force: true });
    return { bytes: statSync(`${output}.safetensors`).size };
  },
  async rules() {
    await repfuse.inspect(checkpoint, { rules: repfuse.parseRules(JSON.parse(readFileSync(path, 'utf8'))) });
    return {};
  },
};

WAYS[how]()
  .catch(({ name, code, message }) => ({ error: { name, code, message: `${message}`.slice(0, 500) } }))
  .then((result) => console.log(JSON.stringify({ ...result, megabytes: mostMegabytes() })));
