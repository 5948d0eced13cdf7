import type { FoldReport, OnnxModel } from '../onnx';
import type { OnnxFacts, OnnxValue } from './report';

type OnnxGraph = OnnxModel['proto']['graph'];

/** What a model is, and what folding makes of it. */
export function onnxFacts(
  { proto, opset }: OnnxModel,
  { model: folded, report }: { readonly model: OnnxModel; readonly report: FoldReport },
): OnnxFacts {
  const { graph } = proto;
  const given = new Set(graph.initializer.map(({ name }) => name));
  const [before, after] = [countWeights(graph), countWeights(folded.proto.graph)];
  const change = <T>(of: (counts: ReturnType<typeof countWeights>) => T) => ({ before: of(before), after: of(after) });
  return {
    opset,
    inputs: graph.input.filter(({ name }) => !given.has(name)).map(describeValue),
    outputs: graph.output.map(describeValue),
    operators: countOperators(graph),
    ...report,
    batchNorms: { before: countNodes(graph, BATCH_NORM), after: countNodes(folded.proto.graph, BATCH_NORM) },
    parameters: change(({ parameters }) => parameters),
    bytes: change(({ bytes }) => bytes),
  };
}

/** What is to be said of a model beside its figures. */
export function onnxNotes({ folded, batchNorms }: Pick<OnnxFacts, 'folded' | 'batchNorms'>): string[] {
  const notes: string[] = [];
  if (folded.length === 0) notes.push('no branch and no BatchNormalization that can be folded is left');
  if (batchNorms.after > 0)
    notes.push(`BatchNormalizations that stay: ${batchNorms.after}; what is before them cannot take them`);
  return notes;
}

const BATCH_NORM = 'BatchNormalization';

function countNodes({ node }: OnnxGraph, operator: string): number {
  return node.filter(({ opType }) => opType === operator).length;
}

function countOperators({ node }: OnnxGraph): OnnxFacts['operators'] {
  const counts = new Map<string, number>();
  for (const { opType, domain } of node) {
    const operator = domain === '' || domain === 'ai.onnx' ? opType : `${domain}.${opType}`;
    counts.set(operator, (counts.get(operator) ?? 0) + 1);
  }
  return [...counts]
    .map(([operator, count]) => ({ operator, count }))
    .sort((a, b) => b.count - a.count || (a.operator < b.operator ? -1 : 1));
}

/** Bytes of an element of ONNX's types that weights have: float32, int8 ..., float64; others take none into account. */
const ELEMENT_BYTES: readonly number[] = [0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8, 8, 16, 2, 1, 1, 1, 1];
const FLOATING: ReadonlySet<number> = new Set([1, 10, 11, 16]);

/** Initializers and tensors of Constant nodes; parameters without the statistics of BatchNormalizations. */
function countWeights({ initializer, node }: OnnxGraph): { readonly parameters: number; readonly bytes: number } {
  const statistics = new Set(node.flatMap(({ opType, input }) => (opType === BATCH_NORM ? input.slice(3) : [])));
  const constants = node.flatMap(({ opType, attribute, output }) =>
    opType === 'Constant'
      ? attribute.flatMap(({ t }) => (t === undefined ? [] : [{ name: output[0] ?? '', tensor: t }]))
      : [],
  );
  let [parameters, bytes] = [0, 0];
  for (const { name, tensor } of [...initializer.map((each) => ({ name: each.name, tensor: each })), ...constants]) {
    const elements = tensor.dims.reduce((product, dim) => product * Number(dim), 1);
    bytes += elements * (ELEMENT_BYTES[tensor.dataType] ?? 0);
    if (FLOATING.has(tensor.dataType) && !statistics.has(name)) parameters += elements;
  }
  return { parameters, bytes };
}

/** ONNX's names of its types, by number. */
const TYPE_NAMES: readonly string[] = [
  'undefined',
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
  'complex64',
  'complex128',
  'bfloat16',
];

function describeValue({ name, type }: OnnxGraph['input'][number]): OnnxValue {
  const tensor = type?.tensorType;
  if (tensor === undefined) return { name, type: null, shape: null };
  const shape = tensor.shape?.dim.map(({ value }) =>
    value.case === 'dimValue' ? Number(value.value) : value.case === 'dimParam' ? value.value : null,
  );
  return { name, type: TYPE_NAMES[tensor.elemType] ?? `type ${tensor.elemType}`, shape: shape ?? null };
}
