import { fromBranch } from '../../algebra';
import type { Stage } from '../../ops';
import { Tensor } from '../../tensor/tensor';
import { affineStep } from '../affine';
import { analyse } from '../analysis';
import { describeNode, floatOf, intOf, isOfOnnx } from '../attributes';
import type { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import type { Node } from '../schema/onnx_pb';
import type { ShapeProbe } from '../shape-probe';
import type { ConstantValues } from '../values';
import { protoOf, transposed } from '../values';
import { FreshNames, type Wiring } from '../wiring';
import { fuseWeights } from './fuse-weights';
import { isSumOfValues } from './reassociate';
import type { Folded, FoldedRegion, FoldOptions, FoldReport } from './report';

/** The weight of a linear operator as that of a convolution: output channels first, and how to turn it back. */
interface Linear {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly groups: number;
  readonly restore: (weight: Tensor) => Tensor;
}

/**
 * BatchNormalizations after what is no Conv: ConvTranspose, Gemm and MatMul (which becomes one) take them into their weights, float64 inside, rounded once.
 *
 * @throws as `foldGraph`
 */
export async function foldLinear(model: OnnxModel, fixed: FixedConstants, options: FoldOptions): Promise<Folded> {
  const { graph } = model.proto;
  const { wiring, probe: constants, known } = analyse(model, fixed);
  const names = new FreshNames(graph);
  const initializer = [...graph.initializer];
  const replaced = new Map<Node, Node | null>(); // null: gone
  const folded: FoldedRegion[] = [];
  const kept: { node: string; reason: string }[] = [];
  for (const batchNorm of graph.node) {
    if (batchNorm.opType !== 'BatchNormalization' || !batchNorm.output[0]) continue;
    const input = batchNorm.input[0] ?? '';
    const { node: before, addition } = linearBefore(input, wiring, constants);
    if (before === undefined) continue;
    const step = affineStep(batchNorm, known);
    const linear = LINEAR[before.opType]!(before, constants, addition?.bias);
    if (step?.kind !== 'stages' || typeof linear === 'string') {
      const reason = typeof linear === 'string' ? linear : step?.kind === 'refused' ? step.reason : '';
      kept.push({ node: describeNode(batchNorm), reason });
      continue;
    }
    if (!fixed.budget.spend(4 * linear.weight.size)) {
      kept.push({ node: describeNode(batchNorm), reason: 'its weights are beyond the budget of a model of this size' });
      continue;
    }
    const { weight, bias } = await fuse(linear, step.stages, batchNorm, options);
    const name = names.take(`${batchNorm.name || batchNorm.output[0]!}_fused`);
    const add = (role: string, tensor: Tensor) => {
      initializer.push(protoOf(names.take(`${name}.${role}`), tensor));
      return initializer.at(-1)!.name;
    };
    const attribute = before.attribute.filter((each) => each.name !== 'beta'); // 1, as its bias is now
    const opType = before.opType === 'MatMul' ? 'Gemm' : before.opType;
    if (addition !== undefined) replaced.set(addition.node, null);
    const input0 = [before.input[0]!, add('weight', linear.restore(weight)), add('bias', bias)];
    replaced.set(before, null);
    replaced.set(
      batchNorm,
      changed(before, { name, opType, attribute, input: input0, output: [batchNorm.output[0]!] }),
    );
    const kernel =
      before.opType !== 'ConvTranspose' ? ([1, 1] as const) : (linear.weight.shape.slice(2) as [number, number]);
    const added = addition === undefined ? [] : [describeNode(addition.node)];
    const from = [describeNode(before), ...added, describeNode(batchNorm)];
    folded.push({ node: name, output: batchNorm.output[0]!, from, kernel, groups: linear.groups });
  }
  if (folded.length === 0) return { model, folded, kept };
  const node = graph.node.flatMap((each) => {
    const other = replaced.get(each);
    return other === undefined ? [each] : other === null ? [] : [other];
  });
  const proto = changed(model.proto, { graph: changed(graph, { node, initializer }) });
  return { model: { ...model, proto }, folded, kept: kept satisfies FoldReport['kept'] };
}

function fuse(
  { weight, bias, groups }: Linear,
  stages: readonly Stage[],
  node: Node,
  options: FoldOptions,
): ReturnType<typeof fuseWeights> {
  const conv: Stage = { kind: 'conv2d', weight, bias, stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups };
  return fuseWeights(() => fromBranch({ name: describeNode(node), stages: [conv, ...stages] }), node, options);
}

/** What makes a value by a matrix or a transposed convolution, with the bias that is added to a product of matrices. */
function linearBefore(
  value: string,
  wiring: Wiring,
  constants: ConstantValues,
): { readonly node?: Node; readonly addition?: { readonly node: Node; readonly bias: Tensor } } {
  const node = wiring.hasOneReader(value) ? wiring.producer(value) : undefined;
  if (node === undefined || node.output.length !== 1 || !isOfOnnx(node.domain)) return {};
  if (Object.hasOwn(LINEAR, node.opType)) return { node };
  if (node.opType !== 'Add') return {};
  const bias = node.input.map((each) => constants.get(each)).find((each) => each !== undefined);
  const product = node.input.find((each) => constants.get(each) === undefined);
  const before = product !== undefined && wiring.hasOneReader(product) ? wiring.producer(product) : undefined;
  const isSum = isSumOfValues(node) && before?.opType === 'MatMul' && isOfOnnx(before.domain);
  return bias !== undefined && isSum && before.output.length === 1 ? { node: before, addition: { node, bias } } : {};
}

/** The weight of a node, or why it cannot take a BatchNormalization. `added`: to its result. */
const LINEAR: Readonly<
  Record<string, (node: Node, constants: ShapeProbe, added: Tensor | undefined) => Linear | string>
> = {
  ConvTranspose(node, constants) {
    const weight = constants.get(node.input[1]!);
    const bias = optional(node.input[2], constants);
    if (weight === undefined || bias === undefined) return 'the weight or bias before it is no constant';
    if (weight.dtype !== 'F32' || weight.shape.length !== 4) return 'the weight before it is no float32 image kernel';
    const groups = intOf(node, 'group', 1);
    return {
      weight: swapChannels(weight, groups),
      bias,
      groups,
      restore: (fused) => swapChannels(fused, groups),
    };
  },
  MatMul: matMul,
  Gemm(node, constants) {
    const weight = constants.get(node.input[1]!);
    const bias = optional(node.input[2], constants);
    if (weight === undefined || bias === undefined) return 'the weight or bias before it is no constant';
    if (weight.dtype !== 'F32') return 'the weight before it is no float32';
    if (floatOf(node, 'alpha', 1) !== 1 || (bias !== null && floatOf(node, 'beta', 1) !== 1))
      return 'the Gemm before it has an alpha or beta other than 1';
    const turned = intOf(node, 'transB', 0) !== 0;
    const rows = turned ? weight : transposed(weight);
    const [outputs, inputs] = rows.shape as [number, number];
    if (bias !== null && bias.size !== outputs) return 'the bias before it is no vector of its outputs';
    return {
      weight: new Tensor('F32', [outputs, inputs, 1, 1], rows.data),
      bias: bias === null ? null : new Tensor(bias.dtype, [outputs], bias.data),
      groups: 1,
      restore: ({ data }) => {
        const matrix = new Tensor('F32', [outputs, inputs], data);
        return turned ? matrix : transposed(matrix);
      },
    };
  },
};

function matMul(node: Node, constants: ShapeProbe, added: Tensor | undefined): Linear | string {
  const weight = constants.get(node.input[1]!);
  if (weight === undefined) return 'the weight before it is no constant';
  if (weight.dtype !== 'F32' || weight.shape.length !== 2) return 'the weight before it is no float32 matrix';
  if (constants.shapes[0].get(node.input[0]!)?.length !== 2)
    return 'the product before it is not known to be of a matrix';
  const [inputs, outputs] = weight.shape as [number, number];
  if (added !== undefined && (added.size !== outputs || added.shape.at(-1) !== outputs))
    return 'what is added before it is no vector of its outputs';
  return {
    weight: new Tensor('F32', [outputs, inputs, 1, 1], transposed(weight).data),
    bias: added === undefined ? null : new Tensor(added.dtype, [outputs], added.data),
    groups: 1,
    restore: ({ data }) => transposed(new Tensor('F32', [outputs, inputs], data)),
  };
}

/** null: there is none; undefined: it is no constant. */
function optional(name: string | undefined, constants: ConstantValues): Tensor | null | undefined {
  return name === undefined || name === '' ? null : constants.get(name);
}

/** [I, O / groups, h, w] to [O, I / groups, h, w], or the other way: group by group a transposition. */
function swapChannels(weight: Tensor, groups: number): Tensor {
  const [first, second, height, width] = weight.shape as [number, number, number, number];
  const per = first / groups;
  const plane = height * width;
  const from = weight.data as Float32Array;
  const data = new Float32Array(from.length);
  for (let group = 0; group < groups; group++) {
    for (let i = 0; i < per; i++) {
      for (let o = 0; o < second; o++) {
        const source = ((group * per + i) * second + o) * plane;
        data.set(from.subarray(source, source + plane), ((group * second + o) * per + i) * plane);
      }
    }
  }
  return Tensor.f32([second * groups, per, height, width], data);
}
