import { create } from '@bufbuild/protobuf';
import { Engine } from '../../lib/engine';
import { evaluateAsync } from '../../lib/graph';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Constants } from '../../lib/onnx/constants';
import { ValueInfoSchema } from '../../lib/onnx/schema/onnx_pb';
import { numbersOf, protoOf } from '../../lib/onnx/values';
import { Wiring } from '../../lib/onnx/wiring';
import { DTYPES } from '../../lib/tensor/dtype';
import { toFloat32 } from '../../lib/tensor/half';
import type { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { bind, type NodeTest, readTests, testedOperators } from './node-tests';
import { REFUSED } from './node-tests-refused';

/** What exporters compute shapes with: evaluated as the model is loaded. */
const AT_LOAD = ['Cast', 'ConstantOfShape', 'Expand', 'EyeLike', 'Gather', 'Range', 'Shape', 'Size', 'Slice', 'Split'];
/** Both operands may be values that are computed. */
const OF_VALUES = ['Add', 'Concat', 'Div', 'Gemm', 'MatMul', 'Mul', 'Sub'];
/** Of the peak of what is expected; the values of some tests have four digits. */
const BOUND = 2e-6;
const ROUNDED: Readonly<Record<string, number>> = {
  test_averagepool_2d_ceil_last_window_starts_on_pad: 2e-4,
  test_gridsample_bicubic: 2e-5,
};

async function expectRuns(test: NodeTest, computed: number, bound = BOUND): Promise<void> {
  const { model, inputs } = bind(test, computed);
  const network = fromOnnx(model);
  await using engine = await Engine.create(network);
  const got = await engine.runAll<Tensor>(inputs);
  expectEqual(await evaluateAsync(network.graph, network.tensors, inputs), test.outputs[0]!, bound);
  for (const [i, each] of [...got.values()].entries()) expectEqual(each, test.outputs[i]!, bound);
}

function expectEqual(got: Tensor, want: Tensor, bound: number): void {
  expect([got.dtype, got.shape]).toEqual([want.dtype, want.shape]);
  if (DTYPES[want.dtype].floating) expectClose(toFloat32(got), toFloat32(want), bound);
  else expect(got.data).toEqual(want.data);
}

/** What is not finite is what was expected; the rest is close to it. */
function expectClose(got: Float32Array, want: Float32Array, bound: number): void {
  const others = (values: Float32Array) => values.map((value, i) => (Number.isFinite(want[i]) ? 0 : value));
  const finite = (values: Float32Array) => values.filter((_, i) => Number.isFinite(want[i]));
  expect(others(got)).toEqual(others(want));
  expect(peakError(finite(got), finite(want))).toBeLessThan(bound);
}

/** With all inputs constants, so is the output. */
function expectFoldedAtLoad(test: NodeTest): void {
  const { graph } = test.model.proto;
  const initializer = graph.input.map(({ name }, i) => protoOf(name, test.inputs[i]!));
  const bound = { ...graph, initializer, input: [create(ValueInfoSchema, { name: 'unused' })] };
  const constants = new Constants(bound, new Wiring(bound));
  test.outputs.forEach((want, i) => {
    const got = constants.get(graph.output[i]!.name);
    expect(got?.dtype).toBe(want.dtype);
    expect(got?.shape).toEqual(want.shape);
    expect(numbersOf(got!)).toEqual(numbersOf(want));
  });
}

describe.each(testedOperators())('%s', (operator) => {
  const tests = readTests(operator);
  test.each([...tests.keys()])('%s', async (name) => {
    const each = tests.get(name)!;
    const reason = REFUSED[name];
    if (reason !== undefined) {
      await expect(expectRuns(each, 1)).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_REPFUSE_(GRAPH|SHAPE)$/),
        message: expect.stringContaining(reason),
      });
      return;
    }
    if (AT_LOAD.includes(operator)) expectFoldedAtLoad(each);
    else await expectRuns(each, 1, ROUNDED[name]);
    if (OF_VALUES.includes(operator)) await expectRuns(each, each.inputs.length);
  });
});
