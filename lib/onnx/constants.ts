import type { Tensor } from '../tensor/tensor';
import { Budget, MAX_RANK } from './evaluation/budget';
import { cast } from './evaluation/cast';
import { canEvaluate, evaluateNode, evaluateOfShape } from './evaluation/operators';
import { FixedConstants } from './fixed-constants';
import type { Graph, Node } from './schema/onnx_pb';
import type { Wiring } from './wiring';

/** The constant values of a graph whose input has one size: those that are the same for all, and arithmetic on shapes. */
export class Constants {
  private readonly known = new Map<string, Tensor | undefined>();
  private readonly budget = new Budget();

  /** shapes: of values, where they are known; looked at when a value is asked for. Default: what the graph says of its own. */
  constructor(
    graph: Graph,
    private readonly wiring: Wiring,
    private readonly shapes: ReadonlyMap<string, readonly number[]> = staticShapes(graph),
    private readonly fixed = new FixedConstants(graph),
  ) {}

  /** The tensor that a value always is, or undefined. @throws ERR_REPFUSE_FORMAT, ERR_REPFUSE_GRAPH for what is malformed */
  get(value: string): Tensor | undefined {
    return this.fixed.settles(value) ? this.fixed.get(value) : this.computed(value);
  }

  has(value: string): boolean {
    return this.fixed.has(value) || this.get(value) !== undefined;
  }

  shapeOf(value: string): readonly number[] | undefined {
    return this.fixed.shapeOf(value) ?? this.get(value)?.shape;
  }

  /** What is computed from shapes: depth first, without recursion, which deep graphs would overflow. */
  private computed(value: string): Tensor | undefined {
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

  private evaluate(node: Node): readonly Tensor[] | undefined {
    if (!canEvaluate(node)) return undefined;
    const [first] = node.input;
    const told = this.shapes.get(first ?? '');
    // What is computed from the input of a network is float32.
    const ofShape = told && evaluateOfShape(node, { shape: told, dtype: 'F32' }, this.budget);
    if (ofShape !== undefined) return [ofShape];
    const inputs = node.input.map((name) => (name === '' ? undefined : this.get(name)));
    if (node.opType === 'CastLike' && inputs[0] !== undefined && inputs[1] === undefined) {
      const floats = cast(inputs[0], 'F32', this.budget);
      return floats && [floats];
    }
    const isMissing = inputs.some((tensor, i) => tensor === undefined && node.input[i] !== '');
    return isMissing ? undefined : evaluateNode(node, inputs, this.budget);
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
