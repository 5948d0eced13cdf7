import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import type { PixelNormalization } from '../ops';
import type { ComputedDType } from '../tensor/dtype';
import type { Graph, GraphInput, GraphNode } from './graph';
import { namesOf } from './open-sizes';
import { OPERATORS, operatorOf } from './operators';
import {
  BOOLEAN,
  integer,
  integers,
  isListOf,
  MAX_RANK,
  NAME,
  NAMES,
  NONZERO,
  NONZERO_NUMBERS,
  NUMBERS,
  OPEN_SIZE,
  oneOf,
  optional,
  type Rule,
} from './operators/fields';

import { nodeError } from './operators/operator';

/** Far above any real network, low enough that a hostile file cannot keep the checks busy for long. */
const MAX_NODES = 10_000;
const MAX_INPUTS = 256;

type Fields = Readonly<Record<string, Rule>>;

const GRAPH_FIELDS: Fields = {
  inputShape: optional(integers<readonly [number, number, number]>(3, 1)),
  anySize: optional(BOOLEAN),
  labels: optional(NAMES),
};
/** Types of what callers give and get. */
const TYPE: Rule<ComputedDType> = oneOf(['F32', 'F16', 'BF16', 'F64', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL']);
const INPUT: Fields = {
  id: NAME,
  shape: {
    expected: `at most ${MAX_RANK} sizes, each a positive integer or a name of letters, digits, _ and .`,
    accepts: (value) => isListOf(value, (size) => OPEN_SIZE.accepts(size) || integer(1).accepts(size), MAX_RANK),
  },
  type: optional(TYPE),
};
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
  const inputs = graph.inputs === undefined ? undefined : parseInputs(graph);
  const given = new Set<unknown>(inputs?.map(({ id }) => id) ?? [input]);
  const isFixed = graph.inputShape !== undefined && graph.anySize !== true;
  const open = new Set((inputs?.map(({ shape }) => shape) ?? [isFixed ? ['N'] : OPEN_IMAGES]).flat());
  const known = new Set(given as Set<string>);
  const parsed = nodes.map((node, index) => {
    const result = parseNode(node, index, known);
    expectSizesOf(result, open);
    known.add(result.id);
    return result;
  });
  if (given.has(output) || !known.has(output as string)) throw bad('output', 'the id of a node', output);
  const { outputs } = graph;
  const areOutputs = isListOf(outputs, (id) => !given.has(id) && known.has(id as string));
  if (outputs !== undefined && (!areOutputs || (outputs as unknown[])[0] !== output))
    throw bad('outputs', 'ids of nodes, output first', outputs);
  if (inputs !== undefined && graph.inputShape !== undefined)
    throw bad('inputShape', 'nothing where there are inputs', graph.inputShape);
  return {
    input,
    ...(inputs === undefined ? {} : { inputs }),
    output,
    ...(outputs === undefined ? {} : { outputs }),
    ...(graph.outputTypes === undefined ? {} : { outputTypes: parseOutputTypes(graph) }),
    ...(graph.multiples === undefined ? {} : { multiples: parseMultiples(graph.multiples) }),
    nodes: parsed,
    ...parseFields(graph, GRAPH_FIELDS, (field) => field),
    ...(graph.normalization === undefined ? {} : { normalization: parseNormalization(graph.normalization) }),
  } as unknown as Graph;
}

/** The open sizes of a graph of images. */
const OPEN_IMAGES = ['N', 'C', 'H', 'W'];

/** @throws ERR_REPFUSE_GRAPH naming the node whose sizes speak of what is no open size of the inputs */
function expectSizesOf(node: GraphNode, open: ReadonlySet<unknown>): void {
  const unknown = namesOf(node).find((name) => !open.has(name));
  if (unknown === undefined) return;
  throw nodeError(node, `its sizes speak of ${show(unknown)}, which is no open size of the inputs`);
}

function parseInputs({ input, inputs }: Record<string, unknown>): readonly GraphInput[] {
  if (!Array.isArray(inputs) || inputs.length === 0 || inputs.length > MAX_INPUTS)
    throw bad('inputs', `a list of 1 to ${MAX_INPUTS} inputs`, inputs);
  const parsed = inputs.map((given, i) => {
    const fields = parseFields(expectObject(given, `input ${i}`), INPUT, (field) => `${field} of input ${i}`);
    return fields as unknown as GraphInput;
  });
  if (parsed[0]!.id !== input) throw bad('input', 'the id of the first of inputs', input);
  if (new Set(parsed.map(({ id }) => id)).size < parsed.length) throw bad('inputs', 'inputs of different ids', inputs);
  return parsed;
}

function parseMultiples(given: unknown) {
  const multiples = Object.entries(expectObject(given, 'multiples'));
  for (const [name, multiple] of multiples) {
    if (!OPEN_SIZE.accepts(name)) throw bad('multiples', OPEN_SIZE.expected, name);
    if (!integer(1).accepts(multiple)) throw bad(`multiples of ${name}`, integer(1).expected, multiple);
  }
  return Object.fromEntries(multiples);
}

function parseOutputTypes({ output, outputs = [output], outputTypes }: Record<string, unknown>) {
  const types = Object.entries(expectObject(outputTypes, 'outputTypes'));
  for (const [id, type] of types) {
    if (!(outputs as unknown[]).includes(id)) throw bad('outputTypes', 'types of results alone', id);
    if (!TYPE.accepts(type)) throw bad(`outputTypes of ${id}`, TYPE.expected, type);
  }
  return Object.fromEntries(types);
}

function parseNode(json: unknown, index: number, known: ReadonlySet<string>): GraphNode {
  const node = expectObject(json, `node ${index}`);
  const { id, op, inputs } = node;
  if (!NAME.accepts(id) || known.has(id as string)) {
    throw bad(`id of node ${index}`, `${NAME.expected} that no node before it has`, id);
  }
  if (typeof op !== 'string' || !Object.hasOwn(OPERATORS, op))
    throw bad(`op of node ${id}`, `one of ${Object.keys(OPERATORS).join(', ')}`, op, id);
  const operator = operatorOf(node as unknown as GraphNode);
  const [least, most] = typeof operator.inputs === 'number' ? [operator.inputs, operator.inputs] : operator.inputs;
  const count = isListOf(inputs, (name) => known.has(name as string), most) ? (inputs as []).length : -1;
  if (count < least || count > most) {
    const expected = least === most ? `${most}` : `${least} to ${most}`;
    throw bad(`inputs of node ${id} (${op})`, `${expected} of the ids before it`, inputs, id);
  }
  const fields = parseFields(node, operator.fields, (field) => `${field} of node ${id} (${op})`, id);
  const parsed = { id, op, inputs: [...(inputs as string[])], ...fields } as unknown as GraphNode;
  const unfit = operator.unfitInputs?.(parsed);
  if (unfit !== undefined) throw bad(`inputs of node ${id} (${op})`, unfit, inputs, id);
  return parsed;
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
