// A process from its start to the first result: node cold-start-repfuse.cjs model.safetensors threads
const { Engine, readModel, Tensor } = require('repfuse');

(async () => {
  const engine = await Engine.create(await readModel(process.argv[2]), { threads: Number(process.argv[3]) });
  const { data } = await engine.run(Tensor.f32([1, 3, 224, 224], new Float32Array(3 * 224 * 224).fill(0.1)));
  process.stdout.write(`${data[0]}`);
})();
