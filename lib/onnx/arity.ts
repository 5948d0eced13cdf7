import { RepfuseError } from '../errors';
import { describeNode } from './attributes';
import type { Graph, Node } from './schema/onnx_pb';

/**
 * That every node has the inputs and outputs that its operator has: what reads a node by places would pass over one too many, or miss one.
 * Operators of other domains are not looked at.
 *
 * @throws ERR_REPFUSE_GRAPH naming file, node and operator
 */
export function checkArity({ node: nodes }: Graph, opset: number, file: string): void {
  for (const node of nodes) {
    for (const { g, graphs } of node.attribute)
      for (const inner of g === undefined ? graphs : [g, ...graphs]) checkArity(inner, opset, file);
    const arity = arityOf(node, opset);
    if (arity === undefined) continue;
    const { inputs, outputs } = arity;
    const given = node.input.slice(0, inputs.least).filter((name) => name !== '').length;
    const isComplete = given === inputs.least && node.input.length <= inputs.most;
    if (!isComplete) throw wrong(node, file, 'input', inputs, given < inputs.least ? given : node.input.length);
    const made = node.output.length;
    if (made < outputs.least || made > outputs.most) throw wrong(node, file, 'output', outputs, made);
  }
}

interface Count {
  readonly least: number;
  readonly most: number;
}

interface Arity {
  /** The operator set with which it came. */
  readonly since: number;
  readonly inputs: Count;
  readonly outputs: Count;
}

function arityOf({ domain, opType }: Node, opset: number): Arity | undefined {
  if (domain !== '' && domain !== 'ai.onnx') return undefined;
  known ??= readTable();
  return known.get(opType)?.findLast(({ since }) => since <= opset);
}

function wrong(node: Node, file: string, what: string, { least, most }: Count, count: number): RepfuseError {
  const expected = least === most ? `${least}` : most === Infinity ? `at least ${least}` : `${least} to ${most}`;
  return new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected ${expected} ${what}${expected === '1' ? '' : 's'} for the ONNX node ${describeNode(node)} in ${file} but received ${count}`,
    { file, node: node.name || node.output[0], operator: node.opType },
  );
}

let known: ReadonlyMap<string, readonly Arity[]> | undefined;

/** In the order of the operator sets, so that an operator's last entry that is old enough holds. */
function readTable(): ReadonlyMap<string, readonly Arity[]> {
  const table = new Map<string, Arity[]>();
  for (const line of TABLE.trim().split(/\n(?! )/)) {
    const [since, inputs, outputs, names] = line.split(/: | -> /) as [string, string, string, string];
    const arity = { since: Number(since), inputs: countOf(inputs), outputs: countOf(outputs) };
    for (const name of names.split(/\s+/)) table.set(name, [...(table.get(name) ?? []), arity]);
  }
  return table;
}

/** `2`, `1-3`, or `1-` where there is no end. */
function countOf(text: string): Count {
  const [least, most = least] = text.split('-') as [string, string?];
  return { least: Number(least), most: most === '' ? Infinity : Number(most) };
}

/**
 * Of ONNX's operators (onnx.defs of onnx 1.23, all versions): since which operator set, inputs, outputs. Of the inputs the first that are
 * no options are counted as the least.
 */
const TABLE = `
1: 0 -> 1: Constant RandomNormal RandomUniform SequenceEmpty
1: 0-1 -> 1: Optional
1: 1 -> 1: Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Bernoulli BitCast BitwiseNot
  BlackmanWindow Cast Ceil Celu Clip ConcatFromSequence ConstantOfShape Cos Cosh DepthToSpace Det Elu Erf Exp
  EyeLike Flatten Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool HammingWindow HannWindow HardSigmoid
  HardSwish Hardmax Identity ImageDecoder IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization LpPool MaxPool
  MeanVarianceNormalization Mish Multinomial Neg NonZero Not OptionalGetElement OptionalHasElement Pad
  RandomNormalLike RandomUniformLike Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
  ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Round Selu SequenceLength Shape Shrink
  Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Sqrt Squeeze StringNormalizer Swish Tan
  Tanh TfIdfVectorizer ThresholdedRelu Transpose Unsqueeze Upsample
1: 1 -> 1-: If
1: 1 -> 1-2: Dropout
1: 1 -> 1-4: Unique
1: 1 -> 2: StringSplit TopK
1: 1 -> 3: DynamicQuantizeLinear
1: 1- -> 1: Concat Einsum Max Mean Min SequenceConstruct Sum
1: 1- -> 1-: SequenceMap
1: 1-2 -> 1: DFT SequenceErase SplitToSequence Trilu
1: 1-2 -> 1-: Split
1: 2 -> 1: Add AffineGrid And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike CenterCropPad Compress CumProd
  CumSum Div Equal Expand Gather GatherElements GatherND Greater GreaterOrEqual GridSample Less LessOrEqual MatMul
  MaxRoiPool Mod Mul Or PRelu Pow RMSNormalization Resize ReverseSequence SequenceAt StringConcat Sub SwiGLU Xor
1: 2- -> 1-: Scan
1: 2-3 -> 1: Conv ConvTranspose DequantizeLinear MaxUnpool NegativeLogLikelihoodLoss QuantizeLinear SequenceInsert
  TensorScatter
1: 2-3 -> 1-2: SoftmaxCrossEntropyLoss
1: 2-3 -> 1-3: LayerNormalization
1: 2-4 -> 1: ConvInteger MatMulInteger STFT
1: 2-4 -> 2: CausalConvWithState
1: 2-5 -> 1: NonMaxSuppression
1: 3 -> 1: Col2Im Gemm GroupNormalization InstanceNormalization OneHot Range RoiAlign Scatter ScatterElements
  ScatterND Tile Where
1: 3- -> 1-: Loop
1: 3-4 -> 1: RotaryEmbedding
1: 3-5 -> 1: DeformConv
1: 3-6 -> 0-2: RNN
1: 3-6 -> 1-4: Attention
1: 3-6 -> 2: GRU LinearAttention
1: 3-8 -> 0-3: LSTM
1: 5 -> 1: MelWeightMatrix
1: 5 -> 1-5: BatchNormalization
1: 8 -> 1: QLinearMatMul
1: 8-9 -> 1: QLinearConv
2: 1 -> 1-: Split
3: 3-6 -> 0-2: GRU
5: 2 -> 1: Reshape
6: 2 -> 1: Tile
8: 1 -> 1-2: MaxPool
9: 1- -> 1-: Scan
9: 2 -> 1: Upsample
10: 2 -> 2: TopK
10: 3-5 -> 1: Slice
11: 0- -> 1-: Loop
11: 1-3 -> 1: Clip
11: 2-3 -> 1: Gemm Pad
11: 3-4 -> 1: Resize
12: 1-3 -> 1-2: Dropout
13: 1-2 -> 1: ReduceSum Squeeze
13: 1-2 -> 1-: Split
13: 1-4 -> 1: Resize
13: 2 -> 1: Unsqueeze
14: 5 -> 1-3: BatchNormalization
18: 0-1 -> 1: OptionalHasElement
18: 1-2 -> 1: ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
  ReduceSumSquare
18: 2-4 -> 1: Pad
20: 1-3 -> 1: DFT
24: 3-7 -> 1-4: Attention
`;
