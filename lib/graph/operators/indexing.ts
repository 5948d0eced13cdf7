import { allAgree } from '../../sizes/conditions';
import { leastOf, minus, type Sizes } from '../../sizes/size';
import { formatShape } from '../../tensor/tensor';
import { integer, oneOf, optional } from './fields';
import { expectAxis, type NodeOf, type OnnxNode, type Operator, ShapeMismatch, Unwritable } from './operator';

/** Parts of the first input at the places along `axis` that the second holds: that axis becomes the axes of the second. */
export interface GatherNode extends NodeOf<'gather'> {
  readonly axis: number;
}

/** Elements of the first input: each index of the second stands for its own place, but for that along `axis`. */
export interface GatherElementsNode extends NodeOf<'gather_elements'> {
  readonly axis: number;
}

/** Parts of the first input at the places that the last axis of the second names, behind `batch_dims` axes that both have. */
export interface GatherNdNode extends NodeOf<'gather_nd'> {
  readonly batch_dims: number;
}

// Places are whole numbers, negative ones count from the end; one that is outside reads NaN.

export const gather: Operator<GatherNode> = {
  inputs: 2,
  fields: { axis: integer(0) },
  shape({ axis }, [input, indices = []]) {
    expectAxis(axis, input);
    return [...input.slice(0, axis), ...indices, ...input.slice(axis + 1)];
  },
  rank: (_, [input = 0, indices = 0]) => input - 1 + indices,
  native: ({ axis }) => ({ kind: 'gather', ints: [axis] }),
  onnx: (node) => withIndices('Gather', node, { axis: node.axis }),
};

export const gatherElements: Operator<GatherElementsNode> = {
  inputs: 2,
  fields: { axis: integer(0) },
  shape({ axis }, [input, indices = []]) {
    expectIndices(axis, input, indices);
    return indices;
  },
  native: ({ axis }) => ({ kind: 'gatherElements', ints: [axis] }),
  onnx: (node) => withIndices('GatherElements', node, { axis: node.axis }),
};

export const gatherNd: Operator<GatherNdNode> = {
  inputs: 2,
  fields: { batch_dims: integer(0) },
  shape({ batch_dims: common }, [input, indices = []]) {
    const named = namedBy(indices);
    const fits = common < Math.min(input.length, indices.length) && named >= 1 && common + named <= input.length;
    if (!fits || !allAgree(input.slice(0, common), indices.slice(0, common)))
      throw new ShapeMismatch(`indices ${formatShape(indices)} do not fit its input ${formatShape(input)}`);
    return [...indices.slice(0, -1), ...input.slice(common + named)];
  },
  native: ({ batch_dims }) => ({ kind: 'gatherNd', ints: [batch_dims] }),
  onnx: (node) => withIndices('GatherND', node, { batch_dims: node.batch_dims }),
};

export const SCATTER_FUNCTIONS = ['add', 'mul', 'max', 'min'] as const;
export type ScatterFunction = (typeof SCATTER_FUNCTIONS)[number];

/**
 * The first input with the elements of the third at places along `axis` that the second holds, one after the other: in place of what
 * stood there, or combined with it by `function`. An index that is outside makes all of the result NaN.
 */
export interface ScatterElementsNode extends NodeOf<'scatter_elements'> {
  readonly axis: number;
  readonly function?: ScatterFunction;
}

/** The same of parts, at the places that the last axis of the second input names. */
export interface ScatterNdNode extends NodeOf<'scatter_nd'> {
  readonly function?: ScatterFunction;
}

export const scatterElements: Operator<ScatterElementsNode> = {
  inputs: 3,
  fields: { axis: integer(0), function: optional(oneOf(SCATTER_FUNCTIONS)) },
  shape({ axis }, [input, indices = [], updates = []]) {
    expectIndices(axis, input, indices);
    if (!allAgree(indices, updates))
      throw new ShapeMismatch(`updates ${formatShape(updates)} do not fit indices ${formatShape(indices)}`);
    return input;
  },
  native: ({ axis, function: name }) => ({ kind: 'scatterElements', ints: [axis], ...functionOf(name) }),
  onnx: (node, { opset }) =>
    withIndices('ScatterElements', node, { axis: node.axis, ...reductionOf(node.function, opset) }),
};

export const scatterNd: Operator<ScatterNdNode> = {
  inputs: 3,
  fields: { function: optional(oneOf(SCATTER_FUNCTIONS)) },
  shape(_, [input, indices = [], updates = []]) {
    const named = namedBy(indices);
    const wanted = [...indices.slice(0, -1), ...input.slice(named)];
    if (named < 1 || named > input.length || !allAgree(wanted, updates))
      throw new ShapeMismatch(
        `updates ${formatShape(updates)} at ${formatShape(indices)} do not fit its input ${formatShape(input)}`,
      );
    return input;
  },
  native: ({ function: name }) => ({ kind: 'scatterNd', ...functionOf(name) }),
  onnx: (node, { opset }) => withIndices('ScatterND', node, reductionOf(node.function, opset)),
};

function functionOf(name: ScatterFunction | undefined) {
  return name === undefined ? {} : { function: name };
}

/** From here on there are sums and products, and extremes. */
const REDUCTIONS = 16;
const EXTREMES = 18;

function reductionOf(name: ScatterFunction | undefined, opset: number) {
  if (name === undefined) return {};
  const since = name === 'max' || name === 'min' ? EXTREMES : REDUCTIONS;
  if (opset < since) throw new Unwritable(`scattering with ${name} before opset ${since}`);
  return { reduction: name };
}

/** Axes of a place. */
function namedBy(indices: Sizes): number {
  const named = indices.at(-1) ?? 0;
  if (typeof named !== 'number') throw new ShapeMismatch(`indices ${formatShape(indices)} name an open number of axes`);
  return named;
}

/** Indices for elements: of as many axes as the input, and no longer than it along others than `axis`. */
function expectIndices(axis: number, input: Sizes, indices: Sizes): void {
  expectAxis(axis, input);
  const fits =
    indices.length === input.length && indices.every((size, i) => i === axis || !(leastOf(minus(size, input[i]!)) > 0));
  if (!fits) throw new ShapeMismatch(`indices ${formatShape(indices)} do not fit its input ${formatShape(input)}`);
}

const INT64 = 7;

/** To ONNX indices are integers: the second input, which is float32 here, is cast. */
function withIndices(
  opType: string,
  { id, inputs: [input, indices, ...rest] }: NodeOf,
  attributes: NonNullable<OnnxNode['attributes']>,
): readonly OnnxNode[] {
  return [
    { opType: 'Cast', inputs: [indices!], attributes: { to: INT64 }, part: 'indices' },
    { opType, inputs: [input!, `${id}.indices`, ...rest], attributes },
  ];
}
