import type { Graph } from '../graph';
import type { GraphNode } from '../graph/graph';
import { type Architecture, hasIdentity, hasScale, type NetBlock } from './architecture';
import { type KeyNames, prefixOf } from './key-names';

export type NetForm = 'train' | 'deploy';

/** BatchNorm eps of all these networks. */
const EPS = 1e-5;

/** The graph of a network; `formOf` tells each block's form by its key prefix. */
export function graphOf(architecture: Architecture, names: KeyNames, formOf: (prefix: string) => NetForm): Graph {
  const { blocks, imageSize } = architecture;
  const nodes: GraphNode[] = [];
  let last = 'x';
  for (const block of blocks) {
    const prefix = prefixOf(block, names);
    nodes.push(...blockNodes(block, prefix, names, formOf(prefix), last));
    last = nodes.at(-1)!.id;
  }
  nodes.push(
    { id: 'pool', op: 'global_avg_pool', inputs: [last] },
    { id: 'features', op: 'flatten', inputs: ['pool'] },
    { id: 'logits', op: 'linear', inputs: ['features'], weight: `${names.head}.weight`, bias: `${names.head}.bias` },
  );
  return { input: 'x', output: 'logits', nodes, inputShape: [3, imageSize, imageSize], anySize: true };
}

function blockNodes(block: NetBlock, prefix: string, names: KeyNames, form: NetForm, input: string): GraphNode[] {
  const { kernel, stride, groups, squeezeExcite } = block;
  const conv = (id: string, weight: string, bias: string | null, size: number): GraphNode => ({
    id,
    op: 'conv2d',
    inputs: [input],
    weight,
    bias,
    stride: [stride, stride],
    padding: [(size - 1) / 2, (size - 1) / 2],
    dilation: [1, 1],
    groups,
  });
  const batchNorm = (id: string, from: string, key: string): GraphNode => ({
    id,
    op: 'batch_norm',
    inputs: [from],
    prefix: key,
    eps: EPS,
    affine: true,
  });
  const nodes: GraphNode[] = [];
  if (form === 'deploy') {
    const key = `${prefix}.${names.deploy}`;
    nodes.push(conv(key, `${key}.weight`, `${key}.bias`, kernel));
  } else {
    const keys = Array.from({ length: block.branches }, (_, i) => [`${prefix}.${names.branch(i)}`, kernel] as const);
    if (hasScale(block)) keys.push([`${prefix}.${names.scale}`, 1]);
    const parts = keys.map(([key, size]) => {
      nodes.push(
        conv(`${key}.conv`, `${key}.conv.weight`, null, size),
        batchNorm(`${key}.bn`, `${key}.conv`, `${key}.bn`),
      );
      return `${key}.bn`;
    });
    if (hasIdentity(block)) {
      const key = `${prefix}.${names.identity}`;
      nodes.push(batchNorm(key, input, key));
      parts.push(key);
    }
    parts.reduce((sum, part, index) => {
      const id = `${prefix}.sum${index}`;
      nodes.push({ id, op: 'add', inputs: [sum, part] });
      return id;
    });
  }
  const last = () => nodes.at(-1)!.id;
  if (squeezeExcite) {
    const [reduce, expand] = names.squeezeExcite.map((name) => `${prefix}.${name}`) as [string, string];
    nodes.push({
      id: `${prefix}.se`,
      op: 'squeeze_excite',
      inputs: [last()],
      reduce,
      expand,
      activation: 'relu',
      gate: 'sigmoid',
    });
  }
  nodes.push({ id: prefix, op: 'relu', inputs: [last()] });
  return nodes;
}
