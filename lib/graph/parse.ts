import { isListOf as isList } from '../arguments/schemas';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import type { PixelNormalization } from '../ops';
import {
  BINARY_FUNCTIONS,
  PAD_MODES,
  RESIZE_ASPECTS,
  RESIZE_COORDINATES,
  RESIZE_MODES,
  RESIZE_NEAREST,
} from '../ops/tensor-op';
import type { Graph, GraphNode } from './graph';

/** Far above any real network, low enough that a hostile file cannot keep the checks busy for long. */
const MAX_NODES = 10_000;
const MAX_NAME_LENGTH = 1000;
const MAX_LIST_LENGTH = 100_000;
const MAX_INTEGER = 2 ** 31 - 1;
const MAX_RANK = 8;
const MAX_CONCATENATED = 1000;

/** What a field must hold: the words of the error, and the check. */
interface Rule {
  readonly expected: string;
  readonly accepts: (value: unknown) => boolean;
}

const isName = (value: unknown) => typeof value === 'string' && value.length > 0 && value.length <= MAX_NAME_LENGTH;
const isInteger = (value: unknown, minimum: number) =>
  Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= MAX_INTEGER;
const isListOf = (value: unknown, accepts: (item: unknown) => boolean, maximum = MAX_LIST_LENGTH) =>
  Array.isArray(value) && value.length <= maximum && isList(value, accepts);

const NAME: Rule = { expected: `a name of 1 to ${MAX_NAME_LENGTH} characters`, accepts: isName };
const NAME_OR_NULL: Rule = {
  expected: `a name of 1 to ${MAX_NAME_LENGTH} characters, or null`,
  accepts: (value) => value === null || isName(value),
};
const BOOLEAN: Rule = { expected: 'true or false', accepts: (value) => typeof value === 'boolean' };
const NOT_NEGATIVE: Rule = {
  expected: 'a finite number of at least 0',
  accepts: (value) => Number.isFinite(value) && (value as number) >= 0,
};
const NONZERO: Rule = {
  expected: 'a finite number other than 0',
  accepts: (value) => Number.isFinite(value) && value !== 0,
};
const isFloat32 = (value: unknown) => typeof value === 'number' && Number.isFinite(Math.fround(value));
const NUMBER: Rule = { expected: 'a finite number within the range of float32', accepts: isFloat32 };
const NUMBER_OR_NULL: Rule = {
  expected: 'a finite number within the range of float32, or null',
  accepts: (value) => value === null || isFloat32(value),
};
const STEPS: Rule = {
  expected: `at most ${MAX_RANK} integers other than 0`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, -MAX_INTEGER) && item !== 0, MAX_RANK),
};
const NUMBERS: Rule = { expected: 'a list of finite numbers', accepts: (value) => isListOf(value, Number.isFinite) };
const NONZERO_NUMBERS: Rule = {
  expected: 'a list of finite numbers other than 0',
  accepts: (value) => isListOf(value, NONZERO.accepts),
};
const NAMES: Rule = {
  expected: `a list of at most ${MAX_LIST_LENGTH} names`,
  accepts: (value) => isListOf(value, (item) => typeof item === 'string' && item.length <= MAX_NAME_LENGTH),
};

const integer = (minimum: number): Rule => ({
  expected: `an integer from ${minimum} to ${MAX_INTEGER}`,
  accepts: (value) => isInteger(value, minimum),
});
const integers = (count: number, minimum: number): Rule => ({
  expected: `${count} integers from ${minimum} to ${MAX_INTEGER}`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, minimum), count) && (value as []).length === count,
});
const anyIntegers = (minimum: number): Rule => ({
  expected: `at most ${MAX_RANK} integers from ${minimum} to ${MAX_INTEGER}`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, minimum), MAX_RANK),
});
const numbers = (count: number): Rule => ({
  expected: `${count} finite numbers`,
  accepts: (value) => isListOf(value, Number.isFinite, count) && (value as []).length === count,
});
const oneOf = (words: readonly string[]): Rule => ({
  expected: `one of ${words.join(', ')}`,
  accepts: (value) => words.includes(value as string),
});
const exactly = (word: string): Rule => ({ expected: JSON.stringify(word), accepts: (value) => value === word });
const optional = ({ expected, accepts }: Rule): Rule => ({
  expected: `${expected}, or nothing`,
  accepts: (value) => value === undefined || accepts(value),
});

const SIDES: Rule = {
  expected: `2 or 4 integers from 0 to ${MAX_INTEGER}`,
  accepts: (value) => [2, 4].some((count) => integers(count, 0).accepts(value)),
};
const WINDOW = {
  kernel: integers(2, 1),
  stride: integers(2, 1),
  padding: SIDES,
  dilation: optional(integers(2, 1)),
  ceil_mode: optional(BOOLEAN),
};
const BATCH_NORM = { prefix: NAME, eps: NOT_NEGATIVE, affine: BOOLEAN };

type Fields = Readonly<Record<string, Rule>>;

/** The fields of each operator, beside id, op and inputs; and how many inputs it takes, or at most. */
const OPERATORS: Readonly<
  Record<GraphNode['op'], { readonly inputs: number; readonly least?: number; readonly fields: Fields }>
> = {
  conv2d: {
    inputs: 1,
    fields: {
      weight: NAME,
      bias: NAME_OR_NULL,
      stride: integers(2, 1),
      padding: SIDES,
      padding_mode: optional(exactly('zeros')),
      dilation: integers(2, 1),
      groups: integer(1),
    },
  },
  conv_transpose2d: {
    inputs: 1,
    fields: {
      weight: NAME,
      bias: NAME_OR_NULL,
      stride: integers(2, 1),
      padding: SIDES,
      output_padding: integers(2, 0),
      dilation: integers(2, 1),
      groups: integer(1),
    },
  },
  batch_norm: { inputs: 1, fields: BATCH_NORM },
  bn_pad: { inputs: 1, fields: { ...BATCH_NORM, pad: integer(0) } },
  identity_conv1x1: { inputs: 1, fields: { weight: NAME, groups: integer(1) } },
  avg_pool2d: { inputs: 1, fields: { ...WINDOW, count_include_pad: BOOLEAN } },
  max_pool2d: { inputs: 1, fields: WINDOW },
  linear: { inputs: 1, fields: { weight: NAME, bias: NAME_OR_NULL } },
  squeeze_excite: {
    inputs: 1,
    fields: { reduce: NAME, expand: NAME, activation: exactly('relu'), gate: exactly('sigmoid') },
  },
  crop: { inputs: 1, fields: { rows: integers(2, 0), cols: integers(2, 0) } },
  add: { inputs: 2, fields: {} },
  flatten: { inputs: 1, fields: { axis: optional(integer(0)) } },
  global_avg_pool: { inputs: 1, fields: {} },
  hardswish: { inputs: 1, fields: {} },
  relu: { inputs: 1, fields: {} },
  sigmoid: { inputs: 1, fields: {} },
  silu: { inputs: 1, fields: {} },
  softmax: { inputs: 1, fields: { axis: optional(integer(0)), joint: optional(BOOLEAN) } },
  tanh: { inputs: 1, fields: {} },
  leaky_relu: { inputs: 1, fields: { slope: NUMBER } },
  clip: { inputs: 1, fields: { min: NUMBER_OR_NULL, max: NUMBER_OR_NULL } },
  hard_sigmoid: { inputs: 1, fields: { alpha: NUMBER, beta: NUMBER } },
  binary: {
    inputs: 2,
    least: 1,
    fields: { function: oneOf(BINARY_FUNCTIONS), constant: optional(NAME), constant_first: optional(BOOLEAN) },
  },
  constant: { inputs: 0, fields: { tensor: NAME } },
  concat: { inputs: MAX_CONCATENATED, least: 1, fields: { axis: integer(0) } },
  transpose: { inputs: 1, fields: { perm: anyIntegers(0) } },
  slice: {
    inputs: 1,
    fields: { starts: anyIntegers(-MAX_INTEGER), ends: anyIntegers(-MAX_INTEGER), steps: STEPS },
  },
  pad: {
    inputs: 1,
    fields: {
      before: anyIntegers(-MAX_INTEGER),
      after: anyIntegers(-MAX_INTEGER),
      mode: oneOf(PAD_MODES),
      value: NUMBER,
      fill: optional(NAME),
    },
  },
  reshape: { inputs: 1, fields: { shape: anyIntegers(-1) } },
  squeeze: { inputs: 1, fields: { axes: anyIntegers(0) } },
  unsqueeze: { inputs: 1, fields: { axes: anyIntegers(0) } },
  reduce_mean: { inputs: 1, fields: { axes: anyIntegers(0), keepdims: BOOLEAN } },
  matmul: { inputs: 2, fields: {} },
  resize: {
    inputs: 2,
    least: 1,
    fields: {
      mode: oneOf(RESIZE_MODES),
      coordinates: oneOf(RESIZE_COORDINATES),
      nearest: oneOf(RESIZE_NEAREST),
      aspect: oneOf(RESIZE_ASPECTS),
      exclude_outside: BOOLEAN,
      antialias: BOOLEAN,
      cubic_a: NUMBER,
      extrapolation: NUMBER,
      scales: numbers(2),
      sizes: integers(2, 0),
      crop: numbers(4),
    },
  },
  depth_to_space: { inputs: 1, fields: { block: integers(2, 1), channels_first: BOOLEAN } },
};

const GRAPH_FIELDS: Fields = { inputShape: optional(integers(3, 1)), labels: optional(NAMES) };
const NORMALIZATION: Fields = { scale: NONZERO, mean: optional(NUMBERS), std: optional(NONZERO_NUMBERS) };

/**
 * Checks untrusted JSON and returns it as a Graph of known fields only. Nodes come in an order in which they can run, so a
 * cycle is an input that is not there yet.
 *
 * @throws ERR_REPFUSE_GRAPH naming the node and the field
 */
export function parseGraph(json: unknown): Graph {
  try {
    return parse(json);
  } catch (error) {
    if (error instanceof RepfuseError) throw error;
    // A getter of the caller's, or a Proxy.
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      'Expected a graph that can be read but reading it failed',
      {},
      { cause: error },
    );
  }
}

function parse(json: unknown): Graph {
  const graph = expectObject(json, 'the graph');
  const { input, output, nodes } = graph;
  if (!NAME.accepts(input)) throw bad('input', NAME.expected, input);
  if (!Array.isArray(nodes) || nodes.length === 0 || nodes.length > MAX_NODES)
    throw bad('nodes', `a list of 1 to ${MAX_NODES} nodes`, nodes);
  const known = new Set<string>([input as string]);
  const parsed = nodes.map((node, index) => {
    const result = parseNode(node, index, known);
    known.add(result.id);
    return result;
  });
  if (output === input || !known.has(output as string)) throw bad('output', 'the id of a node', output);
  const { outputs } = graph;
  const areOutputs = isListOf(outputs, (id) => id !== input && known.has(id as string));
  if (outputs !== undefined && (!areOutputs || (outputs as unknown[])[0] !== output))
    throw bad('outputs', 'ids of nodes, output first', outputs);
  return {
    input,
    output,
    ...(outputs === undefined ? {} : { outputs }),
    nodes: parsed,
    ...parseFields(graph, GRAPH_FIELDS, (field) => field),
    ...(graph.normalization === undefined ? {} : { normalization: parseNormalization(graph.normalization) }),
  } as unknown as Graph;
}

function parseNode(json: unknown, index: number, known: ReadonlySet<string>): GraphNode {
  const node = expectObject(json, `node ${index}`);
  const { id, op, inputs } = node;
  if (!NAME.accepts(id) || known.has(id as string)) {
    throw bad(`id of node ${index}`, `${NAME.expected} that no node before it has`, id);
  }
  const operator =
    typeof op === 'string' && Object.hasOwn(OPERATORS, op) ? OPERATORS[op as GraphNode['op']] : undefined;
  if (operator === undefined) throw bad(`op of node ${id}`, `one of ${Object.keys(OPERATORS).join(', ')}`, op, id);
  const { inputs: most, least = most } = operator;
  const count = isListOf(inputs, (name) => known.has(name as string), most) ? (inputs as []).length : -1;
  if (count < least || count > most) {
    const expected = least === most ? `${most}` : `${least} to ${most}`;
    throw bad(`inputs of node ${id} (${op})`, `${expected} of the ids before it`, inputs, id);
  }
  const fields = parseFields(node, operator.fields, (field) => `${field} of node ${id} (${op})`, id);
  if (op === 'binary' && count + (fields.constant === undefined ? 0 : 1) !== 2)
    throw bad(`inputs of node ${id} (binary)`, 'two ids, or one and a constant', inputs, id);
  return { id, op, inputs: [...(inputs as string[])], ...fields } as unknown as GraphNode;
}

function parseNormalization(json: unknown): PixelNormalization {
  const fields = parseFields(
    expectObject(json, 'normalization'),
    NORMALIZATION,
    (field) => `${field} of normalization`,
  );
  return fields as unknown as PixelNormalization;
}

/** The listed fields of an object, checked. */
function parseFields(
  object: Record<string, unknown>,
  fields: Fields,
  nameOf: (field: string) => string,
  node?: unknown,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [field, { expected, accepts }] of Object.entries(fields)) {
    const value = object[field];
    if (!accepts(value)) throw bad(nameOf(field), expected, value, node);
    if (value !== undefined) result[field] = value;
  }
  return result;
}

function expectObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(name, 'an object', value);
  return value as Record<string, unknown>;
}

function bad(field: string, expected: string, received: unknown, node?: unknown): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected ${expected} for ${field} but received ${describe(received)}`,
    typeof node === 'string' ? { field, node } : { field },
  );
}

/** A value in a few words, however deep or long it is. */
function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string' && value.length > 100) return `${value.length} characters`;
  if (!Array.isArray(value)) return show(value);
  const items = value.slice(0, 4).map((item) => (Array.isArray(item) ? 'a list' : describe(item)));
  return `[${items.join(', ')}${value.length > 4 ? `, ... ${value.length} items` : ''}]`;
}
