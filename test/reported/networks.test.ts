import { foldOnnx } from '../../lib/convert';
import { Engine } from '../../lib/engine';
import { evaluateValues, outputsOf, readOnnxModel } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { normsBehindLinear } from '../support/folded-norms';
import { readExpected, reportedPath } from '../support/reported';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();

/** Pieces of real networks. `convolutions`: how many a complete fold leaves. `type`: of the input, where it is not float32. */
const PIECES: readonly { name: string; convolutions: number; type?: 'U8' }[] = [
  { name: 'dw_bn_pw_bn', convolutions: 2 },
  { name: 'repmixer_sub', convolutions: 1 },
  { name: 'gelu_erf', convolutions: 1 },
  { name: 'gelu_op20', convolutions: 1 },
  { name: 'exp_decode', convolutions: 1 },
  { name: 'gemm_reshape_bn', convolutions: 0 },
  { name: 'open_mul_conv', convolutions: 1 },
  { name: 'u8_input', convolutions: 1, type: 'U8' },
  { name: 'weight_standardised', convolutions: 1 },
  { name: 'same_pad_computed', convolutions: 1 },
  { name: 'lab', convolutions: 2 },
];

describe.each(PIECES)('$name', ({ name, convolutions, type }) => {
  const { input: given, outputs } = readExpected(name);
  const input = type === 'U8' ? new Tensor('U8', given.shape, Uint8Array.from(given.data as Float32Array)) : given;

  async function expectRight(file: string): Promise<void> {
    const { graph, tensors, aliases } = await readOnnxModel(file);
    using engine = await Engine.create({ graph, tensors });
    const ran = await engine.runAll(input);
    const evaluated = await evaluateValues(graph, tensors, input, [...outputsOf(graph)], {});
    for (const [output, want] of outputs)
      for (const values of [ran, evaluated]) {
        const got = values.get(aliases.get(output) ?? output)!.data as Float32Array;
        expect(peakError(got, want.data as Float32Array)).toBeLessThan(1e-5);
      }
  }

  test('runs as it is', () => expectRight(reportedPath(`${name}.onnx`)));

  test(`folds to ${convolutions} convolutions, and runs`, async () => {
    const report = await foldOnnx(reportedPath(`${name}.onnx`), path(`${name}.onnx`));
    expect(report.convolutions.after).toBe(convolutions);
    expect(await normsBehindLinear(path(`${name}.onnx`))).toEqual([]);
    await expectRight(path(`${name}.onnx`));
  });
});
