import { readdirSync } from 'node:fs';
import { type OnnxModel, parseOnnx } from '../../lib/onnx/model';
import { protoOf } from '../../lib/onnx/values';
import type { Tensor } from '../../lib/tensor/tensor';
import { FIXTURES } from '../support/fixtures';
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

/** The inputs of a test as what they are in a network: constants, but for the first ones, which are computed. */
export function bind(test: NodeTest, computed: number): { model: OnnxModel; inputs: ReadonlyMap<string, Tensor> } {
  const { proto, opset } = test.model;
  const { graph } = proto;
  const input = graph.input.slice(0, computed);
  const constants = graph.input.slice(computed);
  const initializer = constants.map(({ name }, i) => protoOf(name, test.inputs[computed + i]!));
  return {
    model: { opset, proto: { ...proto, graph: { ...graph, input, initializer } } as OnnxModel['proto'] },
    inputs: new Map(input.map(({ name }, i) => [name, test.inputs[i]!])),
  };
}

/** The operators of which there are tests. */
export function testedOperators(): readonly string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.safetensors'))
    .map((file) => file.slice(0, -12));
}
