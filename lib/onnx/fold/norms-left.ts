import { describeNode, isOfOnnx } from '../attributes';
import type { OnnxModel } from '../model';
import type { Node } from '../schema/onnx_pb';
import { Wiring } from '../wiring';
import type { FoldReport } from './report';

/** Why BatchNormalizations of a folded model stay, of which nothing else has told. */
export function normsLeft({ proto }: OnnxModel, told: FoldReport['kept']): FoldReport['kept'] {
  const wiring = new Wiring(proto.graph);
  const known = new Set(told.map(({ node }) => node));
  return proto.graph.node
    .filter(({ opType, domain }) => opType === 'BatchNormalization' && isOfOnnx(domain))
    .map((node) => ({ node: describeNode(node), reason: reasonOf(node, wiring) }))
    .filter(({ node }) => !known.has(node));
}

function reasonOf({ input: [value = ''] }: Node, wiring: Wiring): string {
  const before = wiring.producer(value);
  if (before === undefined) return 'no convolution or matrix stands before it';
  if (!wiring.hasOneReader(value)) return 'others read the value before it, too';
  return `a ${before.opType} stands before it, and no convolution or matrix that could take it`;
}
