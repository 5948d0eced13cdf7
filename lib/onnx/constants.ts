import { ifShort, type Sizes } from '../sizes/size';
import type { Tensor } from '../tensor/tensor';
import { Budget, MAX_RANK } from './evaluation/budget';
import { cast } from './evaluation/cast';
import { evaluateOpen, isOpenList, type KnownValue, openCountOf, openShapeOf } from './evaluation/open-lists';
import { canEvaluate, evaluateNode, evaluateOfShape } from './evaluation/operators';
import { FixedConstants } from './fixed-constants';
import type { Graph, Node } from './schema/onnx_pb';
import type { Wiring } from './wiring';

/**
 * The values of a graph that are known before it runs: those that are the same for all inputs, and arithmetic on shapes, whose sizes may be
 * open.
 */
export class Constants {
  private readonly known = new Map<string, KnownValue | undefined>();
  private readonly budget = new Budget();

  /** shapes: of values, where they are known; looked at when a value is asked for. Default: what the graph says of its own. */
  constructor(
    graph: Graph,
    private readonly wiring: Wiring,
    readonly shapes: ReadonlyMap<string, Sizes> = staticShapes(graph),
    private readonly fixed = new FixedConstants(graph),
  ) {}

  /** The tensor that a value always is, or undefined. @throws ERR_REPFUSE_FORMAT, ERR_REPFUSE_GRAPH for what is malformed */
  get(value: string): Tensor | undefined {
    const known = this.knownValue(value);
    return known === undefined || isOpenList(known) ? undefined : known;
  }

  /** The same, or what a value is of open sizes. */
  knownValue(value: string): KnownValue | undefined {
    return this.fixed.settles(value) ? this.fixed.get(value) : this.computed(value);
  }

  /** Whether a value is known before the network runs, be it of open sizes. */
  isKnown(value: string): boolean {
    return this.fixed.has(value) || this.knownValue(value) !== undefined;
  }

  has(value: string): boolean {
    return this.fixed.has(value) || this.get(value) !== undefined;
  }

  shapeOf(value: string): readonly number[] | undefined {
    return this.fixed.shapeOf(value) ?? this.knownValue(value)?.shape;
  }

  /** What is computed from shapes: depth first, without recursion, which deep graphs would overflow. */
  private computed(value: string): KnownValue | undefined {
    if (this.known.has(value)) return this.known.get(value);
    const producer = this.wiring.producer(value);
    if (producer === undefined || !canEvaluate(producer)) return undefined;
    const begun = new Set<string>(); // what is met again while it is open is a circle, and no constant
    for (const open = [value]; open.length > 0; ) {
      const top = open.at(-1)!;
      const node = this.known.has(top) ? undefined : this.wiring.producer(top);
      if (node !== undefined && !begun.has(top) && canEvaluate(node)) {
        begun.add(top);
        for (const input of node.input) if (this.isOpen(input)) open.push(input);
        continue;
      }
      open.pop();
      if (this.known.has(top)) continue;
      this.known.set(top, undefined);
      const results = node && this.evaluate(node);
      for (const [i, name] of node?.output.entries() ?? []) if (name !== '') this.known.set(name, results?.[i]);
    }
    return this.known.get(value);
  }

  private isOpen(value: string): boolean {
    return value !== '' && !this.known.has(value) && !this.fixed.settles(value);
  }

  private evaluate(node: Node): readonly KnownValue[] | undefined {
    if (!canEvaluate(node)) return undefined;
    const [first] = node.input;
    const told = this.shapes.get(first ?? '');
    const ofShape = told && ifShort(() => this.evaluateOfShape(node, told));
    if (ofShape !== undefined) return [ofShape];
    const inputs = node.input.map((name) => (name === '' ? undefined : this.knownValue(name)));
    const [only, like] = inputs;
    if (node.opType === 'CastLike' && only !== undefined && !isOpenList(only) && like === undefined) {
      const floats = cast(only, 'F32', this.budget);
      return floats && [floats];
    }
    if (inputs.some((value, i) => value === undefined && node.input[i] !== '')) return undefined;
    if (inputs.some((value) => value !== undefined && isOpenList(value)))
      return ifShort(() => evaluateOpen(node, inputs, this.budget));
    return evaluateNode(node, inputs as (Tensor | undefined)[], this.budget);
  }

  /** What a node makes of a shape alone. What is computed from the input of a network is float32. */
  private evaluateOfShape(node: Node, shape: Sizes): KnownValue | undefined {
    if (shape.every((size) => typeof size === 'number'))
      return evaluateOfShape(node, { shape: shape as readonly number[], dtype: 'F32' }, this.budget);
    if (node.opType === 'Shape') return openShapeOf(node, shape);
    return node.opType === 'Size' ? openCountOf(shape) : undefined;
  }
}

/** What the graph itself says of its values, where it says all. */
export function staticShapes(graph: Graph): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const { name, type } of [...graph.input, ...graph.valueInfo, ...graph.output]) {
    const dims = type?.tensorType?.shape?.dim;
    if (dims === undefined || dims.length > MAX_RANK) continue;
    const sizes = dims.map(({ value }) => (value.case === 'dimValue' ? Number(value.value) : -1));
    if (sizes.every((size) => Number.isSafeInteger(size) && size >= 0)) shapes.set(name, sizes);
  }
  return shapes;
}
