import { readdirSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { Engine } from '../../lib/engine';
import { evaluateAsync } from '../../lib/graph';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Constants } from '../../lib/onnx/constants';
import { type OnnxModel, parseOnnx } from '../../lib/onnx/model';
import { type Node, ValueInfoSchema } from '../../lib/onnx/schema/onnx_pb';
import { numbersOf, protoOf } from '../../lib/onnx/values';
import { Wiring } from '../../lib/onnx/wiring';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { FIXTURES } from '../support/fixtures';
import { node, value } from '../support/onnx-model';
import { fixtureStateDict } from '../support/tensors';
import { REFUSED } from './node-tests-refused';

interface NodeTest {
  readonly model: OnnxModel;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

const FOLDER = `${FIXTURES}/onnx-node`;
/** What exporters compute shapes with: evaluated as the model is loaded. */
const AT_LOAD = ['Cast', 'Expand', 'Gather', 'Shape', 'Slice', 'Split'];
/** Both operands may be values that are computed. */
const OF_VALUES = ['Add', 'Concat', 'Div', 'Gemm', 'MatMul', 'Mul', 'Sub'];
/** Of the peak of what is expected; one test's values have four digits. */
const BOUND = 2e-6;
const ROUNDED: Readonly<Record<string, number>> = { test_averagepool_2d_ceil_last_window_starts_on_pad: 2e-4 };

function readTests(operator: string): ReadonlyMap<string, NodeTest> {
  const tensors = fixtureStateDict(`${FOLDER}/${operator}.safetensors`);
  const list = (name: string, kind: string) =>
    Array.from({ length: tensors.size }, (_, i) => tensors.get(`${name}/${kind}_${i}`)).filter(
      (each) => each !== undefined,
    );
  const names = [...tensors.keys()].filter((key) => key.endsWith('/model')).map((key) => key.slice(0, -6));
  return new Map(
    names.map((name) => [
      name,
      {
        model: parseOnnx(tensors.get(`${name}/model`)!.data as Uint8Array),
        inputs: list(name, 'input'),
        outputs: list(name, 'output'),
      },
    ]),
  );
}

/** The inputs of a test as what they are in a network: constants, but for those that are computed. */
function bind(test: NodeTest, computed: number): { model: OnnxModel; input: Tensor } {
  const { proto, opset } = test.model;
  const { graph } = proto;
  const dynamic = graph.input.slice(0, computed);
  const constants = graph.input.slice(computed);
  const initializer = constants.map(({ name }, i) => protoOf(name, test.inputs[computed + i]!));
  const [first] = test.inputs as [Tensor];
  if (computed === 1 && first.shape.length === 4) {
    return {
      model: { opset, proto: { ...proto, graph: { ...graph, input: dynamic, initializer } } as OnnxModel['proto'] },
      input: first,
    };
  }
  // Several values, or none of images: parts of one image, each in its shape.
  const given = test.inputs.slice(0, computed);
  const data = Float32Array.from(given.flatMap((each) => [...numbersOf(each)]));
  const before: Node[] = [];
  let start = 0;
  for (const [i, { name }] of dynamic.entries()) {
    const end = start + given[i]!.size;
    const number = (suffix: string, values: readonly number[]) => {
      const tensor = new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
      initializer.push(protoOf(`${name}.${suffix}`, tensor));
      return `${name}.${suffix}`;
    };
    const slice = ['parts', number('start', [start]), number('end', [end]), number('axis', [3])];
    before.push(
      node('Slice', slice, [`${name}.part`]),
      node('Reshape', [`${name}.part`, number('shape', given[i]!.shape)], [name]),
    );
    start = end;
  }
  const shape = [1, 1, 1, start];
  const input = [value('parts', shape)];
  input[0]!.type!.tensorType!.elemType = dynamic[0]!.type!.tensorType!.elemType;
  const nodes = [...before, ...graph.node];
  return {
    model: {
      opset: Math.max(opset, 13),
      proto: { ...proto, graph: { ...graph, node: nodes, input, initializer } } as OnnxModel['proto'],
    },
    input: Tensor.f32(shape, data),
  };
}

async function expectRuns(test: NodeTest, computed: number, bound = BOUND): Promise<void> {
  const { model, input } = bind(test, computed);
  const network = fromOnnx(model);
  await using engine = await Engine.create(network);
  const got = await engine.runAll(input);
  const [first] = test.outputs as [Tensor];
  const eager = await evaluateAsync(network.graph, network.tensors, input);
  expect(eager.shape).toEqual(first.shape);
  expect(peakError(eager.data as Float32Array, first.data as Float32Array)).toBeLessThan(bound);
  [...got.values()].forEach((each, i) => {
    expect(each.shape).toEqual(test.outputs[i]!.shape);
    expect(peakError(each.data as Float32Array, test.outputs[i]!.data as Float32Array)).toBeLessThan(bound);
  });
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

describe.each(
  readdirSync(FOLDER)
    .filter((file) => file.endsWith('.safetensors'))
    .map((file) => file.slice(0, -12)),
)('%s', (operator) => {
  const tests = readTests(operator);
  test.each([...tests.keys()])('%s', async (name) => {
    const each = tests.get(name)!;
    const reason = REFUSED[name];
    if (reason !== undefined) {
      await expect(expectRuns(each, 1)).rejects.toMatchObject({
        code: 'ERR_REPFUSE_GRAPH',
        message: expect.stringContaining(reason),
      });
      return;
    }
    if (AT_LOAD.includes(operator)) expectFoldedAtLoad(each);
    else await expectRuns(each, 1, ROUNDED[name]);
    if (OF_VALUES.includes(operator)) await expectRuns(each, each.inputs.length);
  });
});
