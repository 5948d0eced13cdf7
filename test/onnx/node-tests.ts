import { readdirSync } from 'node:fs';
import { type OnnxModel, parseOnnx } from '../../lib/onnx/model';
import type { Node } from '../../lib/onnx/schema/onnx_pb';
import { numbersOf, protoOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';
import { FIXTURES } from '../support/fixtures';
import { node, value } from '../support/onnx-model';
import { fixtureStateDict } from '../support/tensors';

export interface NodeTest {
  readonly model: OnnxModel;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

const FOLDER = `${FIXTURES}/onnx-node`;
export function readTests(operator: string): ReadonlyMap<string, NodeTest> {
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
export function bind(test: NodeTest, computed: number): { model: OnnxModel; input: Tensor } {
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

/** The operators of which there are tests. */
export function testedOperators(): readonly string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.safetensors'))
    .map((file) => file.slice(0, -12));
}
