import { RepfuseError } from '../errors';
import type { PixelNormalization } from '../ops';
import type { Graph, GraphNode } from './graph';

const MAX_NODES = 100_000;
const MAX_NUMBER = 2 ** 31;

type Check = (value: unknown) => boolean;

const isString: Check = (value) => typeof value === 'string';
const isBoolean: Check = (value) => typeof value === 'boolean';
const isCount = (value: unknown, minimum = 1) =>
  Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) < MAX_NUMBER;
const twoOf =
  (minimum: number): Check =>
  (value) =>
    Array.isArray(value) && value.length === 2 && value.every((item) => isCount(item, minimum));
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const isNullableString: Check = (value) => value === null || isString(value);
const isPositive: Check = (value) => Number.isFinite(value) && (value as number) >= 0;

const WINDOW = { kernel: twoOf(1), stride: twoOf(1), padding: twoOf(0), ceil_mode: optional(isBoolean) };
const BATCH_NORM = { prefix: isString, eps: isPositive, affine: isBoolean };

/** The fields of each operator, beside id, op and inputs; and how many inputs it takes. */
const OPERATORS: Readonly<
  Record<GraphNode['op'], { readonly inputs: number; readonly fields: Readonly<Record<string, Check>> }>
> = {
  conv2d: {
    inputs: 1,
    fields: {
      weight: isString,
      bias: isNullableString,
      stride: twoOf(1),
      padding: twoOf(0),
      dilation: twoOf(1),
      groups: (value) => isCount(value),
    },
  },
  batch_norm: { inputs: 1, fields: BATCH_NORM },
  bn_pad: { inputs: 1, fields: { ...BATCH_NORM, pad: (value) => isCount(value, 0) } },
  identity_conv1x1: { inputs: 1, fields: { weight: isString, groups: (value) => isCount(value) } },
  avg_pool2d: { inputs: 1, fields: { ...WINDOW, count_include_pad: isBoolean } },
  max_pool2d: { inputs: 1, fields: WINDOW },
  linear: { inputs: 1, fields: { weight: isString, bias: isNullableString } },
  squeeze_excite: {
    inputs: 1,
    fields: {
      reduce: isString,
      expand: isString,
      activation: (value) => value === 'relu',
      gate: (value) => value === 'sigmoid',
    },
  },
  crop: { inputs: 1, fields: { rows: twoOf(0), cols: twoOf(0) } },
  add: { inputs: 2, fields: {} },
  flatten: { inputs: 1, fields: {} },
  global_avg_pool: { inputs: 1, fields: {} },
  hardswish: { inputs: 1, fields: {} },
  relu: { inputs: 1, fields: {} },
  sigmoid: { inputs: 1, fields: {} },
  silu: { inputs: 1, fields: {} },
  softmax: { inputs: 1, fields: {} },
};

/**
 * Checks untrusted JSON and returns it as a Graph of known fields only.
 *
 * @throws ERR_REPFUSE_GRAPH naming the node and the field
 */
export function parseGraph(json: unknown): Graph {
  const graph = expectObject(json, 'the graph');
  const { input, output, nodes } = graph;
  if (!isString(input) || input === '') throw bad('input', 'a name', input);
  if (!Array.isArray(nodes) || nodes.length === 0 || nodes.length > MAX_NODES)
    throw bad('nodes', `a list of 1 to ${MAX_NODES} nodes`, nodes);
  const known = new Set<string>([input as string]);
  const parsed = nodes.map((node, index) => {
    const result = parseNode(node, index, known);
    known.add(result.id);
    return result;
  });
  if (!isString(output) || !known.has(output as string)) throw bad('output', 'the id of a node', output);
  return {
    input: input as string,
    output: output as string,
    nodes: parsed,
    ...optionalField('inputShape', graph.inputShape, isInputShape),
    ...optionalField('normalization', graph.normalization, isNormalization),
    ...optionalField('labels', graph.labels, (value) => Array.isArray(value) && value.every(isString)),
  } as Graph;
}

function parseNode(json: unknown, index: number, known: ReadonlySet<string>): GraphNode {
  const node = expectObject(json, `node ${index}`);
  const { id, op, inputs } = node;
  if (!isString(id) || id === '' || known.has(id as string)) throw bad(`id of node ${index}`, 'a new name', id);
  const operator =
    typeof op === 'string' && Object.hasOwn(OPERATORS, op) ? OPERATORS[op as GraphNode['op']] : undefined;
  if (operator === undefined) throw bad(`op of node ${id}`, `one of ${Object.keys(OPERATORS).join(', ')}`, op);
  if (
    !Array.isArray(inputs) ||
    inputs.length !== operator.inputs ||
    !inputs.every((name) => isString(name) && known.has(name))
  ) {
    throw bad(`inputs of node ${id}`, `${operator.inputs} of the ids before it`, inputs);
  }
  const result: Record<string, unknown> = { id, op, inputs: [...inputs] };
  for (const [field, check] of Object.entries(operator.fields)) {
    const value = Object.hasOwn(node, field) ? node[field] : undefined;
    if (!check(value)) throw bad(`${field} of node ${id} (${op})`, 'a valid value', value);
    if (value !== undefined) result[field] = value;
  }
  return result as unknown as GraphNode;
}

function optionalField(name: string, value: unknown, check: Check): Record<string, unknown> {
  if (value === undefined) return {};
  if (!check(value)) throw bad(name, 'a valid value', value);
  return { [name]: value };
}

function isInputShape(value: unknown): boolean {
  return Array.isArray(value) && value.length === 3 && value.every((item) => isCount(item));
}

function isNormalization(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { scale, mean, std } = value as Partial<PixelNormalization>;
  const numbers = (list: unknown) => list === undefined || (Array.isArray(list) && list.every(Number.isFinite));
  return Number.isFinite(scale) && scale !== 0 && numbers(mean) && numbers(std) && !(std ?? []).includes(0);
}

function expectObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(name, 'an object', value);
  return value as Record<string, unknown>;
}

function bad(field: string, expected: string, received: unknown): RepfuseError {
  const text = JSON.stringify(received) ?? 'nothing';
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Expected ${expected} for ${field} but received ${text.slice(0, 100)}`, {
    field,
  });
}
