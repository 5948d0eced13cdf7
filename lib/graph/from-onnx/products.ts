import { floatOf, intOf, stringOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { transposed } from '../../onnx/values';
import { product, type Size } from '../../sizes/size';
import { Tensor } from '../../tensor/tensor';
import { about, type Reader, refused, type Take } from './reader';

/** Products of matrices. */
export const PRODUCT_OPERATORS: Readonly<Record<string, Take>> = {
  MatMul: (reader, node) => pushProduct(reader, node.output[0]!, node.input[0]!, node.input[1]!),
  Gemm: takeGemm,
  Einsum: takeEinsum,
};

/** With a constant matrix a layer over rows: of vectors `linear`, which the engine runs as a convolution. */
export function pushProduct(reader: Reader, id: string, first: string, second: string): void {
  const matrix = reader.operand(second);
  if (matrix?.shape.length !== 2 || reader.constant(first) !== undefined)
    reader.push({ id, op: 'matmul', inputs: [first, second] });
  else if (reader.rank(first) !== 2)
    reader.push({ id, op: 'matmul', inputs: [first], constant: reader.set(second, matrix) });
  else {
    const weight = reader.set(`${id}.weight`, transposed(matrix));
    reader.push({ id, op: 'linear', inputs: [first], weight, bias: null });
  }
}

function takeGemm(reader: Reader, node: Node): void {
  const [a, b, c = ''] = node.input as [string, string, string?];
  const [alpha, beta] = [floatOf(node, 'alpha', 1), floatOf(node, 'beta', 1)];
  const [transA, transB] = [intOf(node, 'transA', 0) !== 0, intOf(node, 'transB', 0) !== 0];
  const id = node.output[0]!;
  const weight = reader.operand(b);
  const bias = c === '' ? undefined : reader.constant(c);
  const out = weight?.shape[transB ? 0 : 1];
  const isLayer = weight?.shape.length === 2 && !transA && alpha === 1 && reader.constant(a) === undefined;
  const isBias = c === '' || (beta === 1 && bias?.shape.length === 1 && bias.size === out);
  if (isLayer && isBias) {
    const key = transB ? reader.weight(node, 1) : reader.set(`${id}.weight`, transposed(weight));
    reader.push({ ...about(node, 'linear'), weight: key, bias: reader.optional(node, 2) });
    return;
  }
  const turned = (value: string, isTurned: boolean, name: string) =>
    isTurned ? transposedValue(reader, value, [1, 0], `${id}.${name}`) : value;
  const scaled = (value: string, factor: number, to: string) => {
    if (factor === 1) return value;
    const constant = reader.set(`${to}.factor`, Tensor.f32([], [factor]));
    reader.push({ id: to, op: 'binary', inputs: [value], function: 'mul', constant });
    return to;
  };
  const factors = [turned(a, transA, 'a'), turned(b, transB, 'b')];
  const product = c === '' && alpha === 1 ? id : `${id}.product`;
  reader.push({ id: product, op: 'matmul', inputs: factors });
  if (c === '') scaled(product, alpha, id);
  else {
    const terms = [scaled(product, alpha, `${id}.scaled`), scaled(c, beta, `${id}.c`)];
    reader.push({ id, op: 'binary', inputs: terms, function: 'add' });
  }
}

/** A value with its axes in another order: itself, where they are in that order. */
function transposedValue(reader: Reader, value: string, perm: readonly number[], id: string): string {
  if (perm.every((axis, i) => axis === i)) return value;
  reader.push({ id, op: 'transpose', inputs: [value], perm });
  return id;
}

/** Axes of a value, each by its label. */
interface Labelled {
  readonly value: string;
  readonly labels: readonly string[];
}

/** A transpose of one value, or a product of two: both in the order [common, own, summed], as batches of matrices. */
function takeEinsum(reader: Reader, node: Node): void {
  const id = node.output[0]!;
  const { inputs, result } = readEquation(reader, node);
  const [a, b] = inputs as [Labelled, Labelled?];
  const sums = (one: Labelled, other: Labelled | undefined) =>
    one.labels.some((label) => !result.includes(label) && !other?.labels.includes(label));
  if (inputs.some(({ labels }) => new Set(labels).size < labels.length)) throw refused(node, 'it takes a diagonal');
  if (sums(a, b) || (b !== undefined && sums(b, a))) throw refused(node, 'it sums over an axis of one value alone');
  if (b === undefined) {
    const perm = result.map((label) => a.labels.indexOf(label));
    if (transposedValue(reader, a.value, perm, id) !== id) reader.alias(node);
    return;
  }
  const inBoth = a.labels.filter((label) => b.labels.includes(label));
  const common = inBoth.filter((label) => result.includes(label));
  const summed = inBoth.filter((label) => !result.includes(label));
  const rows = a.labels.filter((label) => !inBoth.includes(label));
  const columns = b.labels.filter((label) => !inBoth.includes(label));
  const sizes = new Map(
    [a, b].flatMap(({ value, labels }) => labels.map((label, i) => [label, reader.sizes(value)[i]!])),
  );
  const groups = (...parts: readonly (readonly string[])[]) => ({ common, parts, sizes });
  const left = grouped(reader, a, `${id}.a`, groups(rows, summed));
  const right = grouped(reader, b, `${id}.b`, groups(summed, columns));
  const made = [...common, ...rows, ...columns];
  const whole = `${id}.product`;
  pushProduct(reader, whole, left, right);
  const apart = rows.length === 1 && columns.length === 1 ? whole : `${id}.apart`;
  if (apart !== whole) {
    const shape = [...common.map(() => 0), ...[...rows, ...columns].map((label) => reader.sizeText(sizes.get(label)!))];
    reader.push({ id: apart, op: 'reshape', inputs: [whole], shape });
  }
  const perm = result.map((label) => made.indexOf(label));
  if (transposedValue(reader, apart, perm, id) !== id) reader.alias(node, apart);
}

/** A value as batches of matrices: the common axes, then each group of others as one axis. */
function grouped(
  reader: Reader,
  { value, labels }: Labelled,
  id: string,
  how: {
    readonly common: readonly string[];
    readonly parts: readonly (readonly string[])[];
    readonly sizes: ReadonlyMap<string, Size>;
  },
): string {
  const order = [...how.common, ...how.parts.flat()];
  const perm = order.map((label) => labels.indexOf(label));
  const turned = transposedValue(reader, value, perm, `${id}.turned`);
  if (how.parts.every((part) => part.length === 1)) return turned;
  const shape = [
    ...how.common.map(() => 0),
    ...how.parts.map((part) => reader.sizeText(product(part.map((label) => how.sizes.get(label)!)))),
  ];
  reader.push({ id, op: 'reshape', inputs: [turned], shape });
  return id;
}

/** The labels of each input and of the result; the axes of an ellipsis are called by their place from the end. */
function readEquation(reader: Reader, node: Node): { inputs: readonly Labelled[]; result: readonly string[] } {
  const equation = stringOf(node, 'equation', '').replaceAll(' ', '');
  const [given = '', asked] = equation.split('->');
  const terms = given.split(',');
  if (terms.length !== node.input.length || terms.length > 2 || !/^[A-Za-z.,]*(->[A-Za-z.]*)?$/.test(equation))
    throw refused(node, `its equation is ${JSON.stringify(equation)}`);
  let most = 0; // axes of an ellipsis
  const labelsOf = (term: string, rest: number) => {
    const [before = '', after] = term.split('...');
    if (after === undefined) return [...before];
    return [...before, ...Array.from({ length: rest }, (_, i) => `${rest - i}`), ...after];
  };
  const inputs = terms.map((term, i): Labelled => {
    const value = node.input[i]!;
    const named = term.replace('...', '').length;
    const rest = reader.rank(value) - named;
    if (rest < 0 || (rest > 0 && !term.includes('...'))) throw refused(node, `${term} are not the axes of its input`);
    if (term.includes('...')) most = Math.max(most, rest);
    return { value, labels: labelsOf(term, rest) };
  });
  const all = inputs.flatMap(({ labels }) => labels);
  const once = [...new Set(all)].filter((label) => all.indexOf(label) === all.lastIndexOf(label)).sort();
  const implied = [
    ...Array.from({ length: most }, (_, i) => `${most - i}`),
    ...once.filter((label) => !/\d/.test(label)),
  ];
  return { inputs, result: asked === undefined ? implied : labelsOf(asked, most) };
}
