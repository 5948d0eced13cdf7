import { type FoldReport, foldGraph, type OnnxModel } from '../../onnx';
import { analyse } from '../../onnx/analysis';
import { describeNode, intOf } from '../../onnx/attributes';
import { Tensor } from '../../tensor/tensor';

type Node = OnnxModel['proto']['graph']['node'][number];

/** A convolution or product of matrices of a model, its weight as that of a convolution: [O, I / groups, kh, kw], [O, I, 1, 1]. */
export interface ModelLayer {
  /** `Conv "name"`. */
  readonly node: string;
  /** Name of the constant that is its weight. */
  readonly name: string;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly groups: number;
  /** Nodes of the given model that it stands for: itself, or those of which folding made it. */
  readonly covers: readonly string[];
}

/** A constant of a model: floats of more than one element, or the bias of a layer. */
export interface ModelConstant {
  readonly name: string;
  readonly tensor: Tensor;
  /** The layer whose weight or bias it is. */
  readonly of: string | undefined;
}

/** What of a model can be compared with a state dict. */
export interface ModelWeights {
  /** Layers of the given model, then those that folding makes. */
  readonly layers: readonly ModelLayer[];
  /** Constants of the given model. */
  readonly constants: readonly ModelConstant[];
}

/** The weights of a model as it stands and as it is folded. @throws as `foldGraph` */
export async function weightsOf(
  model: OnnxModel,
  options: { readonly threads?: number | undefined; readonly signal?: AbortSignal | undefined },
): Promise<ModelWeights> {
  const { model: folded, report } = await foldGraph(model, options);
  const regions = new Map(report.folded.map((region) => [region.node, region]));
  const given = layersOf(model, (node) => [describeNode(node)]);
  const made = layersOf(folded, ({ name }) => regions.get(name)?.from);
  return { layers: [...given, ...made], constants: constantsOf(model) };
}

function layersOf(model: OnnxModel, coversOf: (node: Node) => FoldReport['folded'][number]['from'] | undefined) {
  const { constants } = analyse(model);
  const layers: ModelLayer[] = [];
  for (const node of model.proto.graph.node) {
    const covers = coversOf(node);
    const read = Object.hasOwn(LAYERS, node.opType) ? LAYERS[node.opType] : undefined;
    const weight = read && constants.get(node.input[1] ?? '');
    if (covers === undefined || weight === undefined || !isFloat(weight)) continue;
    const layer = read!(node, weight);
    if (layer === undefined) continue;
    const bias = constants.get(node.input[2] ?? '');
    layers.push({ node: describeNode(node), name: node.input[1]!, bias: bias ?? null, covers, ...layer });
  }
  return layers;
}

type Layer = Pick<ModelLayer, 'weight' | 'groups'>;

const LAYERS: Readonly<Record<string, (node: Node, weight: Tensor) => Layer | undefined>> = {
  Conv: (node, weight) => ({ weight, groups: intOf(node, 'group', 1) }),
  Gemm: (node, weight) => matrix(weight, intOf(node, 'transB', 0) !== 0),
  MatMul: (_, weight) => matrix(weight, false),
};

function matrix(weight: Tensor, rowsAreOutputs: boolean): Layer | undefined {
  if (weight.shape.length !== 2) return undefined;
  const rows = rowsAreOutputs ? weight : transposedMatrix(weight);
  return { weight: new Tensor(rows.dtype, [...rows.shape, 1, 1], rows.data), groups: 1 };
}

/** The transpose of a matrix of any type. */
export function transposedMatrix({ dtype, shape, data }: Tensor): Tensor {
  const [rows, columns] = shape as [number, number];
  const out = data.slice() as Float32Array;
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = (data as Float32Array)[i * columns + j]!;
  return new Tensor(dtype, [columns, rows], out);
}

/** Every constant that a node reads. */
function constantsOf(model: OnnxModel): ModelConstant[] {
  const { constants: known, wiring } = analyse(model);
  const { graph } = model.proto;
  const constants = new Map<string, ModelConstant>();
  for (const node of graph.node) {
    const isLayer = WITH_WEIGHTS.has(node.opType);
    for (const [place, name] of node.input.entries()) {
      // What is computed from constants is known by the parts that it is computed from.
      if (constants.has(name) || (wiring.producer(name)?.opType ?? 'Constant') !== 'Constant') continue;
      const tensor = known.get(name);
      const belongs = isLayer && (place === 1 || place === 2);
      if (tensor === undefined || !isFloat(tensor) || (tensor.size < 2 && !belongs)) continue;
      constants.set(name, { name, tensor, of: belongs ? describeNode(node) : undefined });
    }
  }
  return [...constants.values()];
}

const WITH_WEIGHTS: ReadonlySet<string> = new Set([...Object.keys(LAYERS), 'ConvTranspose']);

function isFloat({ dtype }: Tensor): boolean {
  return dtype === 'F32' || dtype === 'F64' || dtype === 'F16' || dtype === 'BF16';
}
