import { Tensor } from '../../tensor/tensor';
import { affineStep } from '../affine';
import { type Analysis, analyse } from '../analysis';
import { intOf, isOfOnnx } from '../attributes';
import { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import type { Node } from '../schema/onnx_pb';
import { protoOf } from '../values';
import { FreshNames } from '../wiring';
import { reassociateSums } from './reassociate';
import { askSizesBehindNorms } from './sizes-behind-norms';

/** A model whose terms and parts stand where they can be merged, and what is known of it. The values are the same but for the order of rounding. */
export interface Arranged {
  readonly model: OnnxModel;
  readonly analysis: Analysis;
}

/**
 * BatchNormalizations are all that reads the convolutions before them, go before concatenations of convolutions, and the terms of sums that are
 * maps of one value stand together.
 */
export function arrange(model: OnnxModel, fixed: FixedConstants): Arranged {
  const asked = askSizesBehindNorms(model);
  const constants = asked === model ? fixed : new FixedConstants(asked.proto.graph, fixed);
  const distributed = distributeBatchNorms({ model: asked, analysis: analyse(asked, constants) });
  const { wiring, known, fixed: own } = distributed.analysis;
  const summed = reassociateSums(distributed.model, wiring, known);
  return summed === distributed.model ? distributed : { model: summed, analysis: analyse(summed, own) };
}

/**
 * A BatchNormalization of a concatenation along channels as one of each part, where every part is a convolution that nobody else reads:
 * each then takes its own.
 */
function distributeBatchNorms(given: Arranged): Arranged {
  const { model, analysis } = given;
  const { graph } = model.proto;
  const { wiring, known, channels } = analysis;
  const names = new FreshNames(graph);
  const initializer = [...graph.initializer];
  const replaced = new Map<Node, readonly Node[]>();

  /** The convolutions of which a value is the concatenation, in order; undefined where it is none. */
  const partsOf = (value: string): readonly string[] | undefined => {
    const node = wiring.hasOneReader(value) ? wiring.producer(value) : undefined;
    if (node === undefined || !isOfOnnx(node.domain) || node.output.length !== 1) return undefined;
    if (node.opType !== 'Concat' || intOf(node, 'axis', 0) !== 1) return undefined;
    const parts: string[] = [];
    for (const input of node.input) {
      const producer = wiring.hasOneReader(input) ? wiring.producer(input) : undefined;
      if (producer?.opType !== 'Conv' || affineStep(producer, known)?.kind !== 'stages') return undefined;
      parts.push(input);
    }
    return parts;
  };

  for (const batchNorm of graph.node) {
    if (batchNorm.opType !== 'BatchNormalization') continue;
    const [input = '', ...parameters] = batchNorm.input;
    const parts = partsOf(input);
    const step = parts && affineStep(batchNorm, known);
    const tensors = parameters.map((name) => known.constants.get(name));
    const counts = parts?.map((part) => channels.channelsOf(part) ?? 0) ?? [];
    const total = counts.reduce((sum, count) => sum + count, 0);
    const isWhole = !counts.includes(0) && tensors.every((each) => each?.size === total && each.dtype === 'F32');
    if (parts === undefined || step?.kind !== 'stages' || !isWhole || !known.takeVector(total)) continue;
    let begin = 0;
    const norms = parts.map((part, i) => {
      const name = names.take(`${batchNorm.name || batchNorm.output[0]}_part${i}`);
      const end = begin + counts[i]!;
      const own = tensors.map((tensor) => {
        const data = (tensor!.data as Float32Array).subarray(begin, end);
        const proto = protoOf(names.take(`${name}.parameter`), Tensor.f32([data.length], Float32Array.from(data)));
        initializer.push(proto);
        return proto.name;
      });
      begin = end;
      return changed(batchNorm, { name, input: [part, ...own], output: [names.take(`${part}_normalized`)] });
    });
    const concat = wiring.producer(input)!;
    const inputs = norms.map(({ output }) => output[0]!);
    replaced.set(concat, []);
    replaced.set(batchNorm, [...norms, changed(concat, { input: inputs, output: [batchNorm.output[0]!] })]);
  }
  if (replaced.size === 0) return given;
  const node = graph.node.flatMap((each) => replaced.get(each) ?? [each]);
  const other = { ...model, proto: changed(model.proto, { graph: changed(graph, { node, initializer }) }) };
  return { model: other, analysis: analyse(other, new FixedConstants(other.proto.graph, analysis.fixed)) };
}
