import { checkOptions } from '../arguments/check';
import { integer, membersOf, oneOf, optional } from '../arguments/schemas';
import { show } from '../arguments/show';
import { nearestOf } from '../arguments/suggest';
import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import { countMacs, type Graph, inferShapes } from '../graph';
import { checkStubs } from '../tensor/schemas';
import { elementCount, formatShape, type Tensor } from '../tensor/tensor';
import { ARCHITECTURES, type Architecture, type NetName } from './architecture';
import { KEY_NAMES, type KeyNames, type NetNaming, prefixOf } from './key-names';
import { graphOf, type NetForm } from './net-graph';
import { isParameter, seedTensors, specsOf } from './net-tensors';

export const NET_NAMES = Object.keys(ARCHITECTURES) as readonly NetName[];

export interface NetOptions {
  /** Default `'train'`: with all branches. */
  readonly form?: NetForm | undefined;
  /** Whose key names: the authors' (default) or timm's. */
  readonly names?: NetNaming | undefined;
  /** Default 1000. */
  readonly classes?: number | undefined;
}

/** A network's graph and tensors. */
export interface Net {
  readonly graph: Graph;
  readonly tensors: StateDict;
}

export type SeedOptions = NetOptions & { readonly seed?: number | undefined };

const ENTRIES = {
  form: optional(oneOf(['train', 'deploy'])),
  names: optional(oneOf(['native', 'timm'])),
  classes: optional(integer(1, 2 ** 24)),
} as const;
const OPTIONS = membersOf<NetOptions>()(ENTRIES);
const SEED_OPTIONS = membersOf<SeedOptions>()({ ...ENTRIES, seed: optional(integer(0)) });

/**
 * A network with random weights and statistics, of about the size of trained ones.
 *
 * @param options.seed default 0
 * @throws ERR_REPFUSE_INVALID_ARGUMENT
 */
export function netFromSeed(name: NetName, options: SeedOptions = {}): Net {
  const { seed = 0, ...rest } = checkOptions('netFromSeed', SEED_OPTIONS, options);
  const { architecture, names, form, classes } = resolve(name, rest);
  return {
    graph: graphOf(architecture, names, () => form),
    tensors: seedTensors(
      specsOf(architecture, names, () => form, classes),
      seed,
    ),
  };
}

/**
 * The graph of a network for the tensors at hand: their names tell whose they are, and each block is in the form that its tensors are in.
 *
 * @param tensors under the authors' or timm's key names
 * @throws ERR_REPFUSE_KEY if the names are neither's, or blocks are missing; ERR_REPFUSE_GRAPH naming a tensor that is missing or has another
 *   shape; ERR_REPFUSE_INVALID_ARGUMENT
 */
export function netGraph(name: NetName, tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>): Graph {
  const architecture = architectureOf(name);
  checkStubs('tensors', tensors);
  const names = Object.values(KEY_NAMES[architecture.family]).find(({ head }) => tensors.has(`${head}.weight`));
  if (names === undefined) {
    const heads = Object.values(KEY_NAMES[architecture.family]).map(({ head }) => `${head}.weight`);
    throw new RepfuseError('ERR_REPFUSE_KEY', `Expected ${heads.join(' or ')} of ${name} but received neither`);
  }
  const isTraining = (prefix: string) => tensors.has(`${prefix}.${names.branch(0)}.conv.weight`);
  const formOf = (prefix: string) => (isTraining(prefix) ? 'train' : 'deploy');
  const graph = graphOf(architecture, names, formOf);
  expectBlocks(name, architecture, names, tensors);
  inferShapes(graph, [1, ...graph.inputShape!], tensors);
  const [classes = 0] = tensors.get(`${names.head}.weight`)!.shape;
  expectShapes(name, specsOf(architecture, names, formOf, classes), tensors);
  return graph;
}

/** What a network costs. */
export interface NetFigures {
  /** Learned values: BatchNorm statistics are none. */
  readonly parameters: number;
  /** Multiply-accumulates of one image of the size that the network was trained on. */
  readonly macs: number;
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT */
export function netFigures(name: NetName, options: NetOptions = {}): NetFigures {
  const { architecture, names, form, classes } = resolve(name, checkOptions('netFigures', OPTIONS, options));
  const specs = specsOf(architecture, names, () => form, classes);
  const graph = graphOf(architecture, names, () => form);
  const stubs = new Map([...specs].map(([key, { shape }]) => [key, { dtype: 'F32' as const, shape }]));
  const parameters = [...specs.values()].filter(isParameter).reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return { parameters, macs: countMacs(graph, inferShapes(graph, [1, ...graph.inputShape!], stubs), stubs) };
}

function resolve(name: NetName, { names = 'native', form = 'train', classes = 1000 }: NetOptions) {
  const architecture = architectureOf(name);
  return { architecture, names: KEY_NAMES[architecture.family][names], form, classes };
}

function architectureOf(name: NetName): Architecture {
  if (typeof name === 'string' && Object.hasOwn(ARCHITECTURES, name)) return ARCHITECTURES[name];
  const nearest = typeof name === 'string' ? nearestOf(name, NET_NAMES) : undefined;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected the name of a network but received ${show(name)}${nearest === undefined ? ':' : `: did you mean ${nearest}?`} there are ${NET_NAMES.join(', ')}`,
    nearest === undefined ? {} : { nearest },
  );
}

/** A checkpoint of another network is told by the blocks that it lacks, before any shape is looked at. */
function expectBlocks(
  name: NetName,
  { blocks }: Architecture,
  names: KeyNames,
  tensors: ReadonlyMap<string, unknown>,
): void {
  const missing = blocks
    .map((block) => prefixOf(block, names))
    .filter((prefix) =>
      [`${names.branch(0)}.conv.weight`, `${names.deploy}.weight`].every((key) => !tensors.has(`${prefix}.${key}`)),
    );
  if (missing.length === 0) return;
  throw new RepfuseError(
    'ERR_REPFUSE_KEY',
    `Expected ${blocks.length} blocks of ${name} but ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing`,
    { missing },
  );
}

/** Networks of equal depth differ only in their widths. */
function expectShapes(
  name: NetName,
  specs: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'shape'>>,
): void {
  for (const [key, { shape }] of specs) {
    const received = tensors.get(key)?.shape;
    if (received === undefined || formatShape(received) === formatShape(shape)) continue;
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      `Expected ${formatShape(shape)} for ${key} of ${name} but received ${formatShape(received)}`,
      { tensor: key },
    );
  }
}
