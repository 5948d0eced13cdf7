import type { ComputedDType } from '../tensor/dtype';
import { intOf } from './attributes';
import type { Graph, Node } from './schema/onnx_pb';
import { dtypeOf } from './values';

/** The types of a graph's values by name: what the graph says, else what the operators make of their inputs' types. */
export function valueTypes(graph: Graph): ReadonlyMap<string, ComputedDType> {
  const types = new Map<string, ComputedDType>();
  const tell = (value: string, type: ComputedDType | undefined) => {
    if (value !== '' && type !== undefined) types.set(value, type);
  };
  for (const { name, dataType } of graph.initializer) tell(name, dtypeOf(dataType));
  for (const { name, type } of [...graph.input, ...graph.valueInfo, ...graph.output])
    tell(name, dtypeOf(type?.tensorType?.elemType ?? 0));
  for (const node of graph.node) {
    for (const [index, value] of node.output.entries())
      if (!types.has(value)) tell(value, resultType(node, index, types));
  }
  return types;
}

/** Type of one of a node's results. */
function resultType(node: Node, index: number, types: ReadonlyMap<string, ComputedDType>): ComputedDType | undefined {
  const { opType, input, attribute } = node;
  if (BOOLEAN_RESULTS.has(opType)) return 'BOOL';
  if (INDEX_RESULTS.has(opType)) return 'I64';
  const typeOf = (place: number) => types.get(input[place] ?? '');
  switch (opType) {
    case 'Cast':
    case 'RandomNormal':
    case 'RandomUniform':
      return dtypeOf(intOf(node, opType === 'Cast' ? 'to' : 'dtype', 1));
    case 'CastLike':
      return typeOf(1);
    case 'Constant':
      return constantType(node);
    case 'ConstantOfShape':
      return dtypeOf(attribute.find(({ name }) => name === 'value')?.t?.dataType ?? FLOAT);
    case 'EyeLike':
      return dtypeOf(intOf(node, 'dtype', 0)) ?? typeOf(0);
    case 'MaxPool':
    case 'TopK':
    case 'Unique':
      return index === 0 ? typeOf(0) : 'I64';
    case 'Dropout':
      return index === 0 ? typeOf(0) : 'BOOL';
    case 'OneHot':
      return typeOf(2);
    case 'If':
    case 'Where':
      return typeOf(1) ?? typeOf(2);
    default: {
      const known = input.find((name) => types.has(name));
      return opType === 'Pow' ? typeOf(0) : types.get(known ?? '');
    }
  }
}

function constantType({ attribute }: Node): ComputedDType | undefined {
  const [given] = attribute;
  switch (given?.name) {
    case 'value':
      return dtypeOf(given.t?.dataType ?? 0);
    case 'value_float':
    case 'value_floats':
      return 'F32';
    case 'value_int':
    case 'value_ints':
      return 'I64';
    default:
      return undefined;
  }
}

/** ONNX's number for float32. */
const FLOAT = 1;
const BOOLEAN_RESULTS: ReadonlySet<string> = new Set([
  'And',
  'Equal',
  'Greater',
  'GreaterOrEqual',
  'IsInf',
  'IsNaN',
  'Less',
  'LessOrEqual',
  'Not',
  'Or',
  'Xor',
]);
const INDEX_RESULTS: ReadonlySet<string> = new Set([
  'ArgMax',
  'ArgMin',
  'NonMaxSuppression',
  'NonZero',
  'Shape',
  'Size',
]);
