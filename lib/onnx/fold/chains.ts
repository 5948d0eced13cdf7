import { constantStages } from '../../algebra/constant-stages';
import type { Stage } from '../../ops';
import { ifShort, product } from '../../sizes/size';
import { DTYPES } from '../../tensor/dtype';
import { floatValues } from '../../tensor/half';
import { Tensor } from '../../tensor/tensor';
import { affineStep, arithmeticOf } from '../affine';
import type { Analysis } from '../analysis';
import { isOfOnnx } from '../attributes';
import type { Node } from '../schema/onnx_pb';
import { valuesRead } from '../wiring';
import { axisIndices, broadcastIndices, type Features, featuresOf, movedFeatures } from './features';
import type { Product } from './products';

/** A product with what before and after it scales and shifts its features. */
export interface Chain {
  /** In the order in which they run: the product, what becomes part of it, and what moves features in between. */
  readonly nodes: readonly Node[];
  readonly absorbed: ReadonlySet<Node>;
  /** The value that the first of them reads. */
  readonly source: string;
  readonly before: readonly Stage[];
  readonly after: readonly Stage[];
}

interface Walk {
  readonly nodes: Node[];
  readonly absorbed: Node[];
  readonly stages: Stage[];
}

/** Finds what can become part of products. */
export class ChainFinder {
  private readonly readers = new Map<string, Node[]>();
  /** Why BatchNormalizations beside a product are no part of it. */
  readonly kept = new Map<Node, string>();

  constructor(
    private readonly analysis: Analysis,
    nodes: readonly Node[],
  ) {
    for (const node of nodes) {
      if (node.opType === 'Shape') continue; // scales and shifts leave the shape as it is
      for (const value of valuesRead(node)) this.readers.set(value, [...(this.readers.get(value) ?? []), node]);
    }
  }

  /** @param isTaken whether a node is part of another chain */
  around(node: Node, product: Product, isTaken: (node: Node) => boolean): Chain {
    const after = this.after(node, product, isTaken);
    const nothing = { nodes: [], absorbed: [], stages: [], source: node.input[0]! };
    const before = product.takesInput ? this.before(node, product, isTaken) : nothing;
    const absorbed = new Set([...before.absorbed, ...after.absorbed]);
    const nodes = [...before.nodes, node, ...after.nodes];
    return { nodes, absorbed, source: before.source, before: before.stages, after: after.stages };
  }

  /** The BatchNormalization behind a product that takes none. */
  batchNormAfter({ output }: Node): Node | undefined {
    const reader = this.soleReader(output[0] ?? '');
    return reader?.opType === 'BatchNormalization' ? reader : undefined;
  }

  private after(node: Node, product: Product, isTaken: (node: Node) => boolean): Walk {
    const found: Walk = { nodes: [], absorbed: [], stages: [] };
    const passed: Node[] = [];
    let value = node.output[0]!;
    let features = this.resultOf(node, product);
    while (features !== undefined) {
      const next = this.soleReader(value);
      if (next === undefined || isTaken(next) || !isOne(next)) break;
      const stages = this.stagesOf(next, value, features);
      passed.push(next);
      if (stages !== undefined) {
        found.nodes.push(...passed.splice(0));
        found.absorbed.push(next);
        found.stages.push(...stages);
      } else if (next.input[0] === value)
        features = movedFeatures(next, 'forward', features, this.analysis.constants.shapes);
      else break;
      value = next.output[0]!;
    }
    return found;
  }

  private before(node: Node, { weight, rank }: Product, isTaken: (node: Node) => boolean): Walk & { source: string } {
    const found = { nodes: [] as Node[], absorbed: [] as Node[], stages: [] as Stage[], source: node.input[0]! };
    const { constants, wiring } = this.analysis;
    const passed: Node[] = [];
    let value = node.input[0]!;
    const count = weight.shape[1]!;
    let features = featuresOf(value, count, 1, constants.shapes);
    if (rank === 2) features ??= { count, rank, begin: 1, sizes: [count], inner: 1 };
    while (features !== undefined && this.soleReader(value) !== undefined) {
      const next = wiring.producer(value);
      if (next === undefined || isTaken(next) || !isOne(next)) break;
      const source = this.variableOf(next);
      const stages = source === undefined ? undefined : this.stagesOf(next, source, features);
      passed.unshift(next);
      if (source !== undefined && stages !== undefined) {
        found.nodes.unshift(...passed.splice(0));
        found.absorbed.unshift(next);
        found.stages.unshift(...stages);
        found.source = source;
        value = source;
      } else {
        features = movedFeatures(next, 'back', features, constants.shapes);
        value = next.input[0]!;
      }
    }
    return found;
  }

  /** Where a product's result has its features: as its operator says where the shape is not known. */
  private resultOf({ opType, output }: Node, { weight, rank }: Product): Features | undefined {
    const { shapes } = this.analysis.constants;
    const [count] = weight.shape as [number];
    const isMatrix = opType === 'Gemm' || opType === 'MatMul';
    const shape = shapes.get(output[0]!);
    const inner = isMatrix ? 1 : shape && ifShort(() => product(shape.slice(2)));
    const known = featuresOf(output[0]!, count, inner, shapes);
    if (known !== undefined || rank === undefined) return known;
    return { count, rank, begin: 1, sizes: [count], inner };
  }

  /** What a node does to each feature; undefined where it is none that scales and shifts them. */
  private stagesOf(node: Node, value: string, features: Features): readonly Stage[] | undefined {
    const arithmetic = this.analysis.known.ofPatterns.has(node) ? undefined : arithmeticOf(node);
    if (arithmetic !== undefined) {
      const isFirst = node.input[1] === value;
      const constant = this.analysis.constants.get(node.input[isFirst ? 0 : 1]!);
      const indices = constant && broadcastIndices(constant.shape, features);
      if (indices === undefined || !DTYPES[constant!.dtype].floating) return undefined;
      const vector = spread(constant!, indices, [1, features.count, 1, 1]);
      const stages = constantStages({ function: arithmetic, constant: vector, isFirst }, features.count);
      return typeof stages === 'string' ? undefined : stages;
    }
    if (!['BatchNormalization', 'Identity', 'Dropout'].includes(node.opType) || node.input[0] !== value)
      return undefined;
    const step = affineStep(node, this.analysis.known);
    if (step?.kind === 'refused') this.kept.set(node, step.reason);
    if (step?.kind !== 'stages') return undefined;
    const indices = axisIndices(1, features);
    if (indices === undefined) {
      if (node.opType === 'BatchNormalization') this.kept.set(node, 'it normalises another axis than that of features');
      return node.opType === 'BatchNormalization' ? undefined : step.stages;
    }
    return step.stages.map((stage): Stage => {
      if (stage.kind !== 'batch_norm' || stage.runningMean.size === features.count) return stage;
      const of = (tensor: Tensor) => spread(tensor, indices, [features.count]);
      const { weight, bias, runningMean, runningVar, eps } = stage;
      return {
        kind: 'batch_norm',
        weight: weight ? of(weight) : null,
        bias: bias ? of(bias) : null,
        runningMean: of(runningMean),
        runningVar: of(runningVar),
        eps,
      };
    });
  }

  /** The one input of a node that is no constant, if it has one. */
  private variableOf({ input }: Node): string | undefined {
    const [first, ...others] = input.filter((name) => name !== '' && !this.analysis.constants.has(name));
    return others.length === 0 ? first : undefined;
  }

  /** The one node that reads a value's elements, by one input. */
  private soleReader(value: string): Node | undefined {
    const [reader, ...others] = this.readers.get(value) ?? [];
    return others.length === 0 && !this.analysis.wiring.outputs.has(value) ? reader : undefined;
  }
}

/** A node of ONNX with one result. */
function isOne({ domain, input, output }: Node): boolean {
  return isOfOnnx(domain) && Boolean(input[0]) && Boolean(output[0]) && output.slice(1).every((name) => name === '');
}

function spread(tensor: Tensor, indices: Uint32Array, shape: readonly number[]): Tensor {
  const values = floatValues(tensor);
  return new Tensor(
    'F64',
    shape,
    Float64Array.from(indices, (index) => values[index]!),
  );
}
