// A process from its start to the first result: node cold-start-onnxruntime.cjs model.onnx threads
const ort = require('onnxruntime-node');

(async () => {
  const session = await ort.InferenceSession.create(process.argv[2], { intraOpNumThreads: Number(process.argv[3]) });
  const input = new ort.Tensor('float32', new Float32Array(3 * 224 * 224).fill(0.1), [1, 3, 224, 224]);
  const { [session.outputNames[0]]: logits } = await session.run({ [session.inputNames[0]]: input });
  process.stdout.write(`${logits.data[0]}`);
})();
