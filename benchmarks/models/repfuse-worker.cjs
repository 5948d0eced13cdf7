const { Engine, readModel, Tensor } = require('repfuse');
const { serve } = require('./worker.cjs');

serve(async (file, { threads, precision, images, shape }) => {
  const engine = await Engine.create(await readModel(file), { threads, precision });
  const input = Tensor.f32(shape, images);
  await engine.run(input); // the plan of this batch
  return { run: async () => (await engine.run(input)).data, runBlocking: () => engine.runSync(input).data };
});
