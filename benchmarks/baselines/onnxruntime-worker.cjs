const ort = require('onnxruntime-node');
const { serve } = require('../models/worker.cjs');

serve(async (file, { threads, images, shape }) => {
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
  });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  const feeds = { [input]: new ort.Tensor('float32', images, shape) };
  return async () => (await session.run(feeds))[output].data;
});
