import { clone } from '@bufbuild/protobuf';
import { Engine } from '../../lib/engine';
import { RepfuseError } from '../../lib/errors';
import { evaluate } from '../../lib/graph';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { foldGraph } from '../../lib/onnx/fold/fold';
import { changed } from '../../lib/onnx/messages';
import type { OnnxModel } from '../../lib/onnx/model';
import { AttributeSchema, type Node } from '../../lib/onnx/schema/onnx_pb';
import { Random } from '../support/random';
import { bind, readTests, testedOperators } from './node-tests';

const random = new Random(11);
const WHOLE = [0n, 1n, -1n, 2n, 3n, 5n, -7n, 100n, 2n ** 31n, -(2n ** 63n)];
const pick = <T>(list: readonly T[]): T => list[random.int(0, list.length - 1)]!;

/** One attribute, or the wiring of one input, other than it was. */
function mutated(node: Node): Node {
  const attribute = node.attribute.map((each) => clone(AttributeSchema, each));
  const chosen = attribute.length > 0 && random.int(0, 3) > 0 ? pick(attribute) : undefined;
  if (chosen === undefined) {
    const input = [...node.input];
    const place = random.int(0, input.length - 1);
    input[place] = pick(['', 'nowhere', ...node.input]);
    return changed(node, { input });
  }
  if (chosen.ints.length > 0) {
    const ints = [...chosen.ints];
    if (random.int(0, 3) === 0) ints.pop();
    else ints[random.int(0, ints.length - 1)] = pick(WHOLE);
    chosen.ints = ints;
  } else if (chosen.s.length > 0)
    chosen.s = Buffer.from(pick(['SAME_UPPER', 'SAME_LOWER', 'VALID', 'linear', 'wrap', 'x', '']));
  else if (chosen.f !== 0) chosen.f = pick([0, -1, 1e30, Number.NaN, Number.POSITIVE_INFINITY]);
  else chosen.i = pick(WHOLE);
  return changed(node, { attribute });
}

test.each(testedOperators())(
  '%s with any attribute or input changed: a result or a coded refusal',
  async (operator) => {
    for (const [name, each] of readTests(operator)) {
      for (let round = 0; round < 12; round++) {
        const { model, inputs } = bind(each, 1);
        const { graph } = model.proto;
        const node = graph.node.map((one) => (one.opType === operator ? mutated(one) : one));
        const given = { ...model, proto: { ...model.proto, graph: { ...graph, node } } } as OnnxModel;
        try {
          const network = fromOnnx(given);
          evaluate(network.graph, network.tensors, inputs);
          using engine = await Engine.create(network);
          engine.runSync(inputs);
          await foldGraph(given);
        } catch (error) {
          if (!(error instanceof RepfuseError)) throw new Error(name, { cause: error });
        }
      }
    }
  },
);
